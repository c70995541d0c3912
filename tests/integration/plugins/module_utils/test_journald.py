# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records arrive at a socket like journald's, and a journald that is busy or away holds nobody up."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from wnodes.journald import Journald


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "journal")


@pytest.fixture
def journal(path: str) -> Iterator[Journald]:
    journal = Journald(path)
    yield journal
    journal.close()


def listening(path: str) -> socket.socket:
    journald = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    journald.settimeout(30)
    journald.bind(path)
    return journald


def test_what_was_put_while_journald_was_away_arrives_when_it_is_back(journal: Journald, path: str) -> None:
    journal.put({"MESSAGE": "early"})
    journal.flush()
    assert journal.waiting
    for round_ in range(2):
        with listening(path) as journald:
            journal.put({"MESSAGE": f"{round_}"})
            journal.flush()
            if round_ == 0:
                assert journald.recv(100) == b"MESSAGE=early\n"
            assert journald.recv(100) == b"MESSAGE=%d\n" % round_
        Path(path).unlink()
    assert not journal.waiting


def test_a_journald_that_reads_nothing_is_not_waited_for_and_gets_all_in_order(journal: Journald, path: str) -> None:
    with listening(path) as journald:
        for number in range(5000):
            assert journal.put({"MESSAGE": str(number)})
        journal.flush()
        assert journal.waiting
        for number in range(5000):
            assert journald.recv(100) == b"MESSAGE=%d\n" % number
            journal.flush()
        assert not journal.waiting


def test_the_largest_record_goes_through(journal: Journald, path: str) -> None:
    with listening(path) as journald:
        assert journal.put({"MESSAGE": "x" * (127 << 10)})
        journal.flush()
        assert len(journald.recv(1 << 20)) == (127 << 10) + 9
