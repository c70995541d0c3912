# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest's sender in a real bash: each entry once, as it was logged, whatever is in it; on from its cursor."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.libvirt_fixture import until
from wnodes.image.recipe.journal_sender import SCRIPT

LIMIT_S = 120.0


def entry(number: int, message: Any, **more: str) -> str:
    fields = {"__CURSOR": f"c{number}", "__REALTIME_TIMESTAMP": "1700000000000123", "MESSAGE": message, **more}
    return json.dumps(fields, separators=(",", ":"))


class Guest:
    """A guest's bash with a journal of ``entries``; ``asked`` is what journalctl was called with."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.entries = folder, folder / "entries"
        self.server = socket.socket()
        self.server.bind(("127.0.0.1", 0))
        self.server.settimeout(LIMIT_S)
        self.up = folder / "uptime"
        self.up.write_text("1000.50 0\n")
        (folder / "send-journal").write_text(SCRIPT.replace("/proc/uptime", str(self.up)))
        journalctl = folder / "journalctl"
        journalctl.write_text(f'#!/bin/sh\necho "$@" >{folder}/asked\ncat {self.entries}\nexec sleep 60\n')
        journalctl.chmod(0o755)

    def sent(self, *entries: str, meanwhile: Callable[[], object] = lambda: None) -> list[str]:
        """Run the sender until it has sent as many lines as there are entries; nobody listens before ``meanwhile``."""
        self.entries.write_text("".join(f"{one}\n" for one in entries))
        environment = {"PATH": f"{self.folder}:{os.environ['PATH']}", "RUNTIME_DIRECTORY": str(self.folder)}
        port = str(self.server.getsockname()[1])
        argv = ["bash", str(self.folder / "send-journal"), "127.0.0.1", port, "tcp"]
        with subprocess.Popen(argv, env=environment, cwd=self.folder, start_new_session=True) as sender:
            meanwhile()
            self.server.listen()
            connection, _address = self.server.accept()
            connection.settimeout(LIMIT_S)
            with connection, connection.makefile("r", encoding="utf-8") as lines:
                found = [lines.readline().rstrip("\n") for _ in entries]
            os.killpg(sender.pid, 15)
        return found

    @property
    def asked(self) -> str:
        return (self.folder / "asked").read_text()


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    made = Guest(tmp_path)
    yield made
    made.server.close()


def test_priority_facility_tag_time_and_text_are_those_of_the_entry(guest: Guest) -> None:
    more = {"PRIORITY": "3", "SYSLOG_FACILITY": "10", "SYSLOG_IDENTIFIER": "sshd", "_PID": "77"}
    (line,) = guest.sent(entry(1, "a message", **more))
    start, _space, rest = line.partition(" ")
    assert start == f"<{10 * 8 + 3}>1"
    assert rest.startswith("2023-11-14T22:13:20.000123Z ")
    assert rest.endswith(" sshd 77 - - a message")


def test_what_is_in_an_entry_is_never_evaluated(guest: Guest) -> None:
    canary = guest.folder / "canary"
    evil = f"$(touch {canary})`touch {canary}`"
    number = f"a[$(touch {canary})]"
    hostile = {"PRIORITY": number, "SYSLOG_FACILITY": number, "SYSLOG_IDENTIFIER": evil, "_PID": evil}
    lines = guest.sent(entry(1, evil, **hostile), entry(2, [27, 91, 65, 10, 66]), entry(3, 'a \\ "quote"'))
    assert not canary.exists()
    assert evil in lines[0]
    assert lines[0].startswith("<14>1 ")
    assert lines[1].endswith("?[A?B")
    assert lines[2].endswith("'quote'")


def test_a_restored_guest_sends_what_is_its_own_under_its_own_name(guest: Guest) -> None:
    tried = f"{guest.folder}/tried"
    (guest.folder / "sleep").write_text(f"#!/bin/sh\ntouch {tried}\nexec /bin/sleep 0.1\n")
    (guest.folder / "sleep").chmod(0o755)

    def restore() -> None:
        until("it finds no network", lambda: os.path.exists(tried))
        guest.up.write_text("900.00 0\n")  # its clock has gone on, its uptime has not

    (line,) = guest.sent(entry(1, "mine"), meanwhile=restore)
    assert f" {socket.gethostname().partition('.')[0]} " in line
    assert "--since=@" in guest.asked
    assert "--boot" not in guest.asked


def test_the_next_start_goes_on_after_the_last_entry_sent(guest: Guest) -> None:
    guest.sent(entry(1, "one"), entry(2, "two"))
    assert "--boot" in guest.asked
    guest.sent(entry(3, "three"))
    assert "--after-cursor=c" in guest.asked
    assert "--boot" not in guest.asked
