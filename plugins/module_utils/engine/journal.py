# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service's journal: one record a key, on disk before the side effect it announces.

SQLite in WAL mode with full synchronisation: a record that was put is there after a power cut.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
from contextlib import contextmanager
from typing import Any, Dict, Generic, Iterator, List, Optional, Protocol, Type, TypeVar

from ..model.codec import decode, encode, known
from ..model.errors import ConfigError, StateError, UnavailableError

log = logging.getLogger(__name__)


class Record(Protocol):
    """What a journal keeps: a frozen dataclass with an id."""

    @property
    def id(self) -> str:
        """What the record is found by."""


T = TypeVar("T", bound=Record)


class Outdated(StateError):
    """The record is no longer what a change was based on."""


class Journal(Generic[T]):
    """Records of one dataclass by key, in memory and on disk, safe to use from several threads.

    :param path: the SQLite file; ``":memory:"`` for tests
    :param cls: the dataclass of the records; it must have ``id``
    :param ended: tells records that are over; they are kept for explaining, ``keep`` of them at the most
    :raises UnavailableError: the file can't be opened or read now
    """

    def __init__(self, path: str, cls: Type[T], ended: Any, keep: int = 1000) -> None:
        self._path, self._cls, self._ended, self._keep = path, cls, ended, keep
        self._lock = threading.RLock()
        self._records: Dict[str, T] = {}
        with self._errors():
            if path != ":memory:":
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.executescript(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                "CREATE TABLE IF NOT EXISTS record (id TEXT PRIMARY KEY, body TEXT NOT NULL);"
            )
            if path != ":memory:":
                os.chmod(path, 0o600)
            for key, body in self._db.execute("SELECT id, body FROM record ORDER BY rowid"):
                # earlier versions let by what is no text
                self._records[key] = self._read(encode(json.loads(body)), f"{path} record {key}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Make errors of file and disk ours: a disk that is full has room again some day."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise UnavailableError(
                object=f"journal {self._path}", reason=str(error), hint="is there room on its disk?"
            ) from error

    def _read(self, body: Any, where: str) -> T:
        """Return a record; of one that is over, what this version understands of it.

        :raises ConfigError: a newer version wrote it, and it is not over: this one could not go on where that stopped
        """
        try:
            return decode(self._cls, body, where)
        except ConfigError as error:
            record = decode(self._cls, known(self._cls, body), where)
            if self._ended(record):
                return record
            raise ConfigError(
                object=where, value=error.object, reason="was written by a newer version, and is not over",
                hint="roll out that version again; to go back from it, drain the node first (playbook `drain`)",
            ) from None  # fmt: skip

    def put(self, record: T) -> T:
        """Store ``record`` durably, whatever was there, and return it.

        :raises UnavailableError: it could not be stored; all is as before
        """
        key = record.id
        body = json.dumps(encode(record), separators=(",", ":"))
        with self._lock:
            with self._errors():
                self._db.execute(
                    "INSERT INTO record (id, body) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
                    (key, body),
                )
            self._records[key] = record
            if self._ended(record):
                self._prune()
        return record

    def replace(self, old: T, new: T) -> T:
        """Store ``new`` durably in the place of ``old`` and return it.

        :raises Outdated: what is there is not ``old`` any more; look again
        :raises UnavailableError: it could not be stored; all is as before
        """
        with self._lock:
            if self._records.get(old.id) != old:
                raise Outdated(object=f"{self._cls.__name__} {old.id}", reason="has moved on meanwhile")
            return self.put(new)

    def _prune(self) -> None:
        try:
            for key in [key for key, record in self._records.items() if self._ended(record)][: -self._keep]:
                self._db.execute("DELETE FROM record WHERE id = ?", (key,))
                del self._records[key]
        except sqlite3.Error as error:  # the record that was put is there; the next one that ends tries again
            log.warning("journal %s: old records stay: %s", self._path, error)

    def get(self, key: str) -> Optional[T]:
        """Return the record, or None."""
        with self._lock:
            return self._records.get(key)

    def all(self) -> List[T]:
        """Return all records, oldest first."""
        with self._lock:
            return list(self._records.values())

    def active(self) -> List[T]:
        """Return the records that are not over, oldest first."""
        with self._lock:
            return [record for record in self._records.values() if not self._ended(record)]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
