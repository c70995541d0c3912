# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``wnodes console``: all that a guest wrote, and nothing that does anything to a terminal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.roles.runtime.files.wnodes_services.cli.conftest import Cli
from wnodes.hypervisor.api import ConsolePart
from wnodes.hypervisor.client import HypervisorClient
from wnodes.hypervisor.fake import FakeHypervisor
from wnodes.model.errors import NotFoundError
from wnodes.model.resources import Resources
from wnodes.model.vm import VmRequest
from wnodes_services.cli import console, nodes


class Hypervisor(HypervisorClient):
    """A client of a fake; each pause of the reader adds the next of ``later`` to the log."""

    def __init__(self, log: bytes = b"", later: tuple[bytes, ...] = ()) -> None:
        self.fake, self.later = FakeHypervisor(), list(later)
        self.fake.create(VmRequest("r7", "alice", "a_b_c", Resources(1, 512)))
        self.fake.consoles["r7"] = log

    def console(self, vm_id: str, offset: int) -> ConsolePart:
        return self.fake.console(vm_id, offset)

    def sleep(self, _seconds: float) -> None:
        if self.later:
            self.fake.consoles["r7"] += self.later.pop(0)
        else:
            self.fake.vms.clear()


@pytest.fixture
def guest(wnodes: Cli, monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(log: bytes, *later: bytes) -> Hypervisor:
        made = Hypervisor(log, later)
        monkeypatch.setattr(nodes, "client", lambda view, target, limit_s: made)
        monkeypatch.setattr(console, "time", made)
        return made

    return make


def test_the_last_lines_are_shown_of_a_vm_by_either_name(wnodes: Cli, guest: Any) -> None:
    guest(b"".join(b"line %d\r\n" % number for number in range(200)) + b"login: ")
    code, out, _err = wnodes("console", "vwn-100", "--lines", "2")
    assert (code, out) == (0, "line 199\nlogin: \n")
    assert len(json.loads(wnodes("console", "r7", "--json")[1])["lines"]) == 100
    assert len(wnodes("console", "r7", "--lines", "0")[1].splitlines()) == 201


def test_a_line_that_was_cut_at_its_beginning_is_left_out(wnodes: Cli, guest: Any) -> None:
    guest(b"x" * 300 + b"\nwhole\n")
    assert wnodes("console", "vwn-100", "--lines", "1")[1] == "whole\n"


def test_following_shows_what_comes_until_the_vm_is_gone(wnodes: Cli, guest: Any) -> None:
    guest(b"one\n", b"two\nthr", b"ee\n", b"the end")
    code, out, err = wnodes("console", "vwn-100", "--follow")
    assert (code, out) == (0, "one\ntwo\nthree\nthe end\n")
    assert "is not known here" in err


def test_a_vm_that_says_nothing_is_told_from_an_error(wnodes: Cli, guest: Any) -> None:
    guest(b"")
    code, out, err = wnodes("console", "vwn-100")
    assert (code, out, "has written nothing" in err) == (0, "", True)


def test_a_vm_that_is_not_there_is_1(wnodes: Cli) -> None:
    code, _out, err = wnodes("console", "vwn-1")
    assert (code, "there is no VM of this name" in err) == (1, True)
    assert wnodes("console", "vwn-100", "--follow", "--json")[0] == 2


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[0;32mok\x1b[0m", "ok"),
        ("\x1b]0;title\x07x", "^[]0;title^Gx"),
        ("\x1b[2J\x1b[1;1H", "^[[2J^[[1;1H"),
        ("\x9b31m\x7f", "<U+009B>31m^?"),
        ("a\u202eb", "a<U+202E>b"),
        ("tab\tstays\r", "tab\tstays"),
        ("grün", "grün"),
    ],
)
def test_what_would_steer_a_terminal_is_seen_instead(written: str, shown: str) -> None:
    assert console.harmless(written) == shown


@given(st.text())
def test_whatever_a_guest_writes_a_line_is_printable(text: str) -> None:
    assert console.harmless(text).replace("\t", "").isprintable()


def test_letters_and_colours_that_come_in_two_pieces_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wnodes.hypervisor.files.CONSOLE_PIECE", 3)
    reader = console.Reader(Hypervisor("\x1b[0;32mgrün\n€\n".encode()), "r7", 0)
    assert list(reader.there()) == ["grün", "€"]


class Endless:
    """A guest that writes as fast as it is read."""

    def console(self, _vm_id: str, offset: int) -> ConsolePart:
        start = max(0, offset)
        return ConsolePart(start, start + 3, "YWJj")


def test_a_guest_that_writes_without_end_does_not_hold_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "MOST", 3000)
    monkeypatch.setattr(console, "LONGEST", 100)
    for offset in (0, -10):
        lines = list(console.Reader(Endless(), "r7", offset).there())
        assert 20 < len(lines) < 50
        assert {len(line) for line in lines} == {100}


def test_a_log_that_ends_is_an_error_to_its_reader() -> None:
    hypervisor = Hypervisor()
    hypervisor.fake.vms.clear()
    with pytest.raises(NotFoundError):
        list(console.Reader(hypervisor, "r7", 0).there())
