# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal keeps what was put, and forgets the oldest of what is over."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from wnodes.engine.journal import Journal, Outdated
from wnodes.model.errors import ConfigError, UnavailableError
from wnodes.model.job import Job
from wnodes.model.pool import PoolVm
from wnodes.model.vm import Vm

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Move:
    at: float = 0.0


@dataclass(frozen=True)
class Record:
    id: str
    over: bool = False
    moves: tuple[Move, ...] = ()


@dataclass(frozen=True)
class OldRecord:
    """As a version wrote it that knew less."""

    id: str


@dataclass(frozen=True)
class NewMove(Move):
    why: str = ""


@dataclass(frozen=True)
class NewRecord:
    """As a version wrote it that knows more."""

    id: str
    over: bool = False
    moves: tuple[NewMove, ...] = (NewMove(1.0, "because"),)
    colour: str = "red"


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


def test_a_record_is_replaced_only_as_it_was_read() -> None:
    records = journal(":memory:")
    first = records.put(Record("a"))
    second = records.replace(Record("a"), Record("a", moves=(Move(1.0),)))
    with pytest.raises(Outdated, match="Record a: has moved on"):
        records.replace(first, Record("a", over=True))
    with pytest.raises(Outdated, match="Record b"):
        records.replace(Record("b"), Record("b", over=True))
    assert records.all() == [second]


def test_of_many_who_change_a_record_at_once_none_is_lost() -> None:
    records = journal(":memory:")
    records.put(Record("a"))

    def add(number: int) -> None:
        while True:
            seen = records.get("a")
            assert seen is not None
            with contextlib.suppress(Outdated):
                records.replace(seen, replace(seen, moves=(*seen.moves, Move(number))))
                return

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(100)))
    (record,) = records.all()
    assert sorted(move.at for move in record.moves) == list(range(100))


def test_a_full_disk_is_told_as_such_and_changes_nothing(tmp_path: Path) -> None:
    records = journal(tmp_path / "j.db")
    before = records.put(Record("a"))
    pages = records._db.execute("PRAGMA page_count").fetchone()[0]
    records._db.execute(f"PRAGMA max_page_count = {pages}")
    big = replace(before, moves=(Move(),) * 10_000)
    with pytest.raises(UnavailableError, match=r"journal .*j.db: database or disk is full; is there room"):
        records.replace(before, big)
    assert records.all() == [before]
    records._db.execute("PRAGMA max_page_count = 1000000")
    assert records.replace(before, big) == big
    assert journal(tmp_path / "j.db").all() == [big]


def test_old_records_that_can_not_be_removed_do_no_harm(tmp_path: Path) -> None:
    records = journal(tmp_path / "j.db", keep=1)
    records.put(Record("a", over=True))
    records._db.execute("CREATE TRIGGER no BEFORE DELETE ON record BEGIN SELECT RAISE(FAIL, 'disk is full'); END")
    records.put(Record("b", over=True))
    assert [record.id for record in records.all()] == ["a", "b"]
    records._db.execute("DROP TRIGGER no")
    records.put(Record("c", over=True))
    assert [record.id for record in records.all()] == ["c"]


def test_a_file_that_can_not_be_opened_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "j.db").write_text("this is no database, whoever wrote it here; it is long enough to be read")
    with pytest.raises(UnavailableError, match="file is not a database"):
        journal(tmp_path / "j.db")


def test_what_an_older_version_wrote_is_read(tmp_path: Path) -> None:
    Journal(str(tmp_path / "j.db"), OldRecord, lambda record: False).put(OldRecord("a"))
    assert journal(tmp_path / "j.db").all() == [Record("a")]


def test_what_is_no_text_in_an_older_record_keeps_no_service_from_its_start(tmp_path: Path) -> None:
    path = str(tmp_path / "journal.db")
    with contextlib.closing(Journal(path, Record, lambda record: record.over)) as journal:
        journal.put(Record("a"))
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE record SET body = ?", (json.dumps({"id": "a\udcff"}),))
    with contextlib.closing(Journal(path, Record, lambda record: record.over)) as journal:
        assert journal.all() == [Record("a?")]


def test_what_a_newer_version_left_unfinished_is_not_taken_up_and_not_touched(tmp_path: Path) -> None:
    newer = Journal(str(tmp_path / "j.db"), NewRecord, lambda record: record.over)
    newer.put(NewRecord("a"))
    with pytest.raises(ConfigError, match=r"record a \(.*colour\): was written by a newer version.*drain the node"):
        journal(tmp_path / "j.db")
    assert Journal(str(tmp_path / "j.db"), NewRecord, lambda record: record.over).all() == [NewRecord("a")]


def test_what_ended_under_a_newer_version_is_read_as_far_as_it_is_understood(tmp_path: Path) -> None:
    Journal(str(tmp_path / "j.db"), NewRecord, lambda record: record.over).put(NewRecord("a", over=True))
    assert journal(tmp_path / "j.db").all() == [Record("a", over=True, moves=(Move(1.0),))]


@pytest.mark.parametrize("version", sorted(path.stem for path in GOLDEN.iterdir()))
@pytest.mark.parametrize("kind", [Job, PoolVm, Vm])
def test_journals_of_released_versions_are_read(tmp_path: Path, version: str, kind: Any) -> None:
    """A field that comes new needs a default, and none may go; a release adds its own records to the golden ones."""
    body = json.loads((GOLDEN / f"{version}.json").read_text())[kind.__name__]
    Journal(str(tmp_path / "j.db"), kind, lambda record: False).close()
    with sqlite3.connect(tmp_path / "j.db") as db:
        db.execute("INSERT INTO record VALUES ('a', ?)", (json.dumps(body),))
    (record,) = Journal(str(tmp_path / "j.db"), kind, lambda record: False).all()
    assert record.state.value == body["state"]
