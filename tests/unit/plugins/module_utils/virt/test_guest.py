# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes into a guest is quoted, and what comes back is believed only where it is there."""

from __future__ import annotations

import re
import secrets
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wnodes.model.errors import RequestError, VirtError
from wnodes.model.vm import GuestFile, GuestSetup
from wnodes.virt.fake import FakeDomain, FakeVmHost
from wnodes.virt.guest import CALL_S, PIECE, PING_S, GuestAgent, assignments, read_assignments, setup_script

TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)))


@pytest.fixture
def host() -> FakeVmHost:
    host = FakeVmHost()
    host.domains["u"] = FakeDomain("u", "vwn-100", None, booted=True)
    return host


@given(st.dictionaries(st.sampled_from(["now", "a", "b_c"]), TEXT.filter(lambda text: "\n\n" not in text)))
def test_assignments_come_back(values: dict[str, str]) -> None:
    assert read_assignments(assignments(values) + "\n\necho not=this\n") == values


@given(st.lists(TEXT, min_size=1, max_size=5))
def test_commands_stay_what_they_are(argv: list[str]) -> None:
    script = setup_script(GuestSetup(commands=(tuple(argv),)))
    assert shlex.split(script.rpartition("}\n")[2]) == ["try", *argv]


@pytest.mark.parametrize(
    "setup",
    [
        GuestSetup((GuestFile("relative", ""),)),
        GuestSetup((GuestFile("/x", "\0"),)),
        GuestSetup(commands=((),)),
        GuestSetup(commands=(("a\0b",),)),
    ],
)
def test_what_can_not_be_said_is_refused(setup: GuestSetup) -> None:
    with pytest.raises(RequestError):
        setup_script(setup)


@given(st.binary(max_size=64), st.sampled_from([0o644, 0o640, 0o600]))
def test_a_file_written_in_place_is_told_byte_by_byte(content: bytes, mode: int) -> None:
    file = GuestFile("/k", content.decode("latin-1"), mode, "munge", "adm", in_place=True, encoding="latin-1")
    word, path, mask, owner, told = shlex.split(setup_script(GuestSetup((file,))).rpartition("}\n")[2])
    assert (word, path, 0o666 & ~int(mask, 8), owner) == ("write", "/k", mode, "munge:adm")
    assert told.isascii() and "%" not in told
    assert re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), told.encode()) == content


def test_a_failed_setup_says_how_and_never_what_the_files_hold(host: FakeVmHost) -> None:
    host.fails_setup = "command failed with exit code 5: systemctl start munge"
    with pytest.raises(VirtError, match="exit code 5") as caught:
        GuestAgent(host, "u").setup(GuestSetup((GuestFile("/key", "s3cr3t"),)), 10)
    assert "s3cr3t" not in str(caught.value)
    assert "s3cr3t" in host.domains["u"].scripts[0]


@pytest.mark.parametrize("size", [10, PIECE + 1, 8 * PIECE])
def test_a_script_of_any_size_comes_whole_in_messages_that_an_agent_takes(host: FakeVmHost, size: int) -> None:
    sizes, agent = [], host.agent

    def told(uuid: str, command: str, arguments: dict[str, Any], timeout_s: float) -> Any:
        sizes.append(len(arguments.get("input-data", "")))
        return agent(uuid, command, arguments, timeout_s)

    host.agent = told  # type: ignore[method-assign]
    script = "# " + secrets.token_hex(size // 2)
    for _again in range(2):
        assert GuestAgent(host, "u").run(script, 10).rc == 0
    assert host.domains["u"].scripts == [script, script]
    assert max(sizes) <= 128 * 1024


def test_a_script_of_which_a_piece_can_not_be_kept_is_not_run(
    host: FakeVmHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "_left", lambda *_left: {"pid": 1})
    host._results[1] = (1, "", "No space left on device")
    assert GuestAgent(host, "u").run("# " + secrets.token_hex(4 * PIECE), 10).stderr == "No space left on device"
    assert host.domains["u"].scripts == []


def test_a_silent_agent_is_an_error(host: FakeVmHost) -> None:
    host.mute = True
    for call in (GuestAgent(host, "u").ping, lambda: GuestAgent(host, "u").run("true", 1)):
        with pytest.raises(VirtError, match="not connected"):
            call()


def test_a_script_over_time_is_given_up(host: FakeVmHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_status", lambda _domain, _arguments: {"exited": False})
    waits: list[float] = []
    with pytest.raises(VirtError, match=r"did not end within 0\.05 s"):
        GuestAgent(host, "u", waits.append, lambda: 1.0).run("sleep 100", 0.05)
    assert waits[0] < waits[-1] <= 0.1
    with pytest.raises(VirtError, match=r"did not end within 0\.15 s"):
        GuestAgent(host, "u", waits.append, lambda: 3.0).run("sleep 100", 0.05)


def test_an_agent_is_given_time_on_a_busy_node(host: FakeVmHost, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []
    agent = host.agent

    def told(uuid: str, command: str, arguments: dict[str, Any], timeout_s: float) -> Any:
        limits.append(timeout_s)
        return agent(uuid, command, arguments, timeout_s)

    monkeypatch.setattr(host, "agent", told)
    guest = GuestAgent(host, "u", stretch=lambda: 3.0)
    guest.ping()
    guest.run("true", 1)
    assert limits == [3 * PING_S, 3 * CALL_S, 3 * CALL_S]


def test_a_script_goes_on_while_the_agent_says_nothing(host: FakeVmHost, monkeypatch: pytest.MonkeyPatch) -> None:
    status, silent = host._status, [True, True]

    def late(domain: FakeDomain, arguments: dict[str, Any]) -> Any:
        if silent:
            silent.pop()
            raise VirtError(object="agent", reason="guest agent command timed out")
        return status(domain, arguments)

    monkeypatch.setattr(host, "_status", late)
    assert GuestAgent(host, "u", lambda _seconds: None).run("true", 5).rc == 0


def test_a_script_whose_guest_is_gone_is_over(host: FakeVmHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_domain: FakeDomain, _arguments: dict[str, Any]) -> Any:
        del host.domains["u"]
        raise VirtError(object="domain u", reason="is gone")

    monkeypatch.setattr(host, "_status", gone)
    with pytest.raises(VirtError, match="is gone"):
        GuestAgent(host, "u").run("true", 60)


def test_an_answer_that_is_none_is_an_error(host: FakeVmHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_exec", lambda _domain, _arguments: {})
    with pytest.raises(VirtError, match="answered without 'pid'"):
        GuestAgent(host, "u").run("true", 1)


def test_output_that_is_not_base64_is_no_output(host: FakeVmHost, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"exited": True, "exitcode": 3, "out-data": "?", "err-data": "/w=="}
    monkeypatch.setattr(host, "_status", lambda _domain, _arguments: answer)
    output = GuestAgent(host, "u").run("true", 1)
    assert (output.rc, output.stdout, output.stderr) == (3, "", "�")
