# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes into a support bundle, and what must not."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from wnodes import support
from wnodes.model.errors import CommandFailed
from wnodes.process import Completed


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"password": "hunter2"}, {"password": support.HIDDEN}),
        ({"users": [{"name": "a", "passphrase": "x"}]}, {"users": [{"name": "a", "passphrase": support.HIDDEN}]}),
        ({"files": [{"path": "/etc/x", "content": "s3cret"}]}, {"files": [{"path": "/etc/x", "content": "(hidden)"}]}),
        ({"munge_key": "/etc/munge/munge.key"}, {"munge_key": "/etc/munge/munge.key"}),
        ({"api_key": "abc def"}, {"api_key": support.HIDDEN}),
        ({"edits": [{"path": "/etc/x", "line": "pw x"}]}, {"edits": [{"path": "/etc/x", "line": support.HIDDEN}]}),
        ({"users": [{"name": "a", "shell": "/bin/sh"}]}, {"users": [{"name": "a", "shell": "/bin/sh"}]}),
        ({"commands": [{"argv": ["set", "pw"]}]}, {"commands": [{"argv": support.HIDDEN}]}),
        ({"token": "", "secrets": []}, {"token": "", "secrets": []}),
        ({"url": "https://bob:hunter2@head/x"}, {"url": "https://(hidden)@head/x"}),
    ],
)
def test_secrets_are_hidden_wherever_they_are(config: object, told: object) -> None:
    assert json.loads(support.data(lambda: config)()) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a\n-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\nb", "a\n(hidden)\nb"),
        ("-----BEGIN EC PRIVATE KEY-----\nMIIB", "(hidden)"),
        ("connect password=hunter2 host=a", "connect password=(hidden) host=a"),
        ("Token: abc\nmore", "Token: (hidden)\nmore"),
        ("tokens are 3", "tokens are 3"),
    ],
)
def test_logs_do_not_give_away_what_looks_like_a_secret(text: str, told: str) -> None:
    assert support.attempted(lambda: text) == told


def test_the_end_of_what_is_too_long_is_kept() -> None:
    text = support.attempted(lambda: "x" * support.MAX_CHARS + "the end")
    assert text.endswith("the end")
    assert text.startswith(f"(the last {support.MAX_CHARS} of {support.MAX_CHARS + 7} characters)")


def test_a_part_that_fails_says_so_and_the_others_are_there() -> None:
    def broken() -> str:
        raise CommandFailed(object="sinfo", reason="could not be started: No such file or directory")

    told = support.collect({"a.txt": lambda: "a", "b.txt": broken, "c.txt": lambda: str(1 // 0)})
    assert told["a.txt"] == "a"
    assert told["b.txt"].startswith("left out: CommandFailed: sinfo: could not be started")
    assert told["c.txt"].startswith("left out: ZeroDivisionError")


def test_parts_that_come_too_late_are_not_begun() -> None:
    now = [0.0]

    def slow() -> str:
        now[0] += 30.0
        return "slow"

    told = support.collect({"a": slow, "b": lambda: pytest.fail("begun")}, 25.0, lambda: now[0])
    assert told == {"a": "slow", "b": "left out: the parts before it took 25 s\n"}


class Shell:
    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, argv: Sequence[str], **options: object) -> Completed:
        self.asked.append(tuple(argv))
        assert options["timeout"] == support.COMMAND_S
        if argv[0] == "virsh":
            raise CommandFailed(object="virsh", reason="could not be started")
        return Completed(argv, 3 if argv[0] == "sinfo" else 0, f"{argv[0]} said\nmore", "")


def test_a_command_tells_how_it_ended_if_not_well() -> None:
    assert support.command("sinfo", run=Shell())() == "sinfo said\nmoreexit code 3\n"
    assert support.command("uptime", run=Shell())() == "uptime said\nmore"


def test_versions_are_a_line_each() -> None:
    programs = {"libvirt": ("virsh", "--version"), "qemu": ("qemu", "--version")}
    lines = support.versions("0.1.0", programs, Shell())().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["wnodes", "python", "kernel", "libvirt", "qemu"]
    assert lines[3].startswith("libvirt: left out: ")
    assert lines[4] == "qemu: qemu said"


def test_units_are_told_with_a_bounded_journal() -> None:
    shell = Shell()
    parts = support.units("wnodes-bait.service", "wnodes-hook.socket", run=shell)
    assert {name: part() for name, part in parts.items()} == {
        "units.txt": "systemctl said\nmore",
        "journal.txt": "journalctl said\nmore",
    }
    assert f"--lines={support.JOURNAL_LINES}" in shell.asked[1]
    chosen = shell.asked[1][shell.asked[1].index("-u") :]
    assert chosen[:4] == ("-u", "wnodes-bait.service", "-u", "wnodes-hook.socket")
    assert set(chosen[5::2]) == {"systemd", "python", "wnodes-bait", "wnodes-hook"}


@pytest.mark.parametrize(
    ("name", "plain"), [("status.json", True), ("../x", False), ("a/b", False), (".x", False), ("", False)]
)
def test_what_another_machine_calls_a_part_is_a_plain_name_or_nothing(name: str, plain: bool) -> None:
    assert support.is_plain(name) is plain
