# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal keeps what was put, and forgets the oldest of what is over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wnodes.engine.journal import Journal


@dataclass(frozen=True)
class Record:
    id: str
    over: bool = False


def journal(path: Path | str, keep: int = 1000) -> Journal[Record]:
    return Journal(str(path), Record, lambda record: record.over, keep)


def test_what_was_put_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state" / "journal.db"
    journal(path).put(Record("a"))
    assert journal(path).get("a") == Record("a")
    assert path.stat().st_mode & 0o777 == 0o600


def test_ended_records_are_kept_up_to_a_number(tmp_path: Path) -> None:
    records = journal(tmp_path / "j.db", keep=2)
    records.put(Record("live"))
    for number in range(5):
        records.put(Record(str(number), over=True))
    assert [record.id for record in journal(tmp_path / "j.db").all()] == ["live", "3", "4"]
    assert [record.id for record in records.active()] == ["live"]


def test_a_second_put_replaces() -> None:
    records = journal(":memory:")
    records.put(Record("a"))
    records.put(Record("a", over=True))
    assert records.all() == [Record("a", over=True)]
