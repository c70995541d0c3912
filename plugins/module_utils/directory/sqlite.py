# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory in one SQLite file; with ``":memory:"`` it is the fake of the seam as well.

WAL with full synchronisation: what was answered survives a power cut. A lease that ran out stays in its table until
somebody else takes the name, so that a holder that was cut off (or a nameserver that was down) for longer than the
TTL finds its lease again, in the same epoch, whenever that is still safe. To let holders come first after a start of
ours, whatever the clock says then, names that somebody had are given to nobody else for as long as a lease lasts.
"""

from __future__ import annotations

import functools
import json
import os
import sqlite3
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Dict, Iterator, Optional, Tuple

from ..model.clock import Clock
from ..model.codec import decode, encode
from ..model.errors import DirectoryError, NotFoundError, StateError
from ..model.image import Release, Rollout, TagEntry, check_tag
from ..model.lease import Lease, NetworkSettings
from .base import Directory, Heartbeat, HostNames

_SCHEMA = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
CREATE TABLE IF NOT EXISTS network (id INTEGER PRIMARY KEY CHECK (id = 0), body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pool (
    name TEXT PRIMARY KEY, position INTEGER NOT NULL, mac TEXT NOT NULL UNIQUE, address TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS epoch (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS lease (
    name TEXT PRIMARY KEY, mac TEXT NOT NULL, address TEXT NOT NULL, network TEXT NOT NULL,
    holder TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, epoch INTEGER NOT NULL, expires REAL NOT NULL);
CREATE TABLE IF NOT EXISTS term (id INTEGER PRIMARY KEY CHECK (id = 0), longest REAL NOT NULL);
CREATE TABLE IF NOT EXISTS catalogue (tag TEXT PRIMARY KEY, entry TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS history (id INTEGER PRIMARY KEY AUTOINCREMENT, tag TEXT NOT NULL, entry TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS history_of ON history (tag, id);
CREATE TABLE IF NOT EXISTS config (scope TEXT PRIMARY KEY, body TEXT NOT NULL);
"""

#: how long leases lasted that a version gave which did not note that, in seconds
_TERM_S = 120.0
#: the longest that names are kept for those who had them before a start, in seconds
_MOST_S = 3600.0

#: whose services speak for a host
_ROLES = ("bait", "hypervisor")

_TERM = (
    "INSERT INTO term VALUES (0, ?) ON CONFLICT (id) DO UPDATE SET longest = excluded.longest "
    "WHERE excluded.longest > longest"
)
_LEASE = "SELECT name, mac, address, network, holder, owner, epoch, expires FROM lease"

#: A free name is one that no running lease has, neither by name nor by what a guest would be seen with. Names that
#: nobody ever lost come first, then the least used ones: a name is used again as late as possible, because batch
#: system, ARP caches and people remember names.
_FREE = """
WITH held AS (SELECT name, mac, address FROM lease WHERE expires > :now OR :now < :guarded)
SELECT name, mac, address FROM pool LEFT JOIN epoch USING (name)
WHERE name NOT IN (SELECT name FROM held) AND mac NOT IN (SELECT mac FROM held)
  AND address NOT IN (SELECT address FROM held)
ORDER BY pool.name != :name, EXISTS (SELECT 1 FROM lease WHERE lease.name = pool.name), COALESCE(value, 0), position
LIMIT 1
"""


def _dump(value: Any) -> str:
    return json.dumps(encode(value), separators=(",", ":"), sort_keys=True)


@functools.lru_cache(maxsize=16)  # one for all leases, but after a change of the configuration
def _network(text: str) -> NetworkSettings:
    return decode(NetworkSettings, json.loads(text))


def _lease(row: Tuple[Any, ...]) -> Lease:
    name, mac, address, network, holder, owner, epoch, expires = row
    return Lease(name, mac, address, _network(network), holder, owner, int(epoch), float(expires))


def _tag_entry(row: Tuple[Any, ...]) -> TagEntry:
    return decode(TagEntry, json.loads(row[0]), "tag")


class SqliteDirectory(Directory):
    """A directory kept by one process, safe to use from several threads.

    :param path: the SQLite file; ``":memory:"`` for tests and the simulator
    """

    def __init__(self, path: str, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._lock = threading.RLock()
        self._heartbeats: Dict[Tuple[str, str], Heartbeat] = {}
        try:
            if path != ":memory:":
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.executescript(_SCHEMA)
            if path != ":memory:":
                os.chmod(path, 0o600)
            self._guarded = self._begin()
        except (OSError, sqlite3.Error) as error:
            raise DirectoryError(object=f"directory {path}", reason=f"cannot be opened: {error}") from error

    def _begin(self) -> float:
        """Return until when no name that somebody had goes to somebody else.

        The clock may have been set back since the leases were given: none ends later than if it were given now.
        """
        now, known = self._clock.now(), self._db.execute("SELECT count(*) FROM lease").fetchone()[0]
        row = self._db.execute("SELECT longest FROM term").fetchone()
        longest = float(row[0]) if row else _TERM_S
        self._db.execute("UPDATE lease SET expires = :end WHERE expires > :end", {"end": now + longest})
        return now + min(longest, _MOST_S) if known else now

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise DirectoryError(object=f"directory {self._path}", reason=str(error)) from error

    def _one(self, sql: str, *values: Any) -> Optional[Tuple[Any, ...]]:
        with self._transaction() as db:
            row: Optional[Tuple[Any, ...]] = db.execute(sql, values).fetchone()
        return row

    # -- leases

    def lease(self, holder: str, owner: str, ttl_s: float, name: str = "") -> Lease:
        now = self._clock.now()
        with self._transaction() as db:
            db.execute(_TERM, (ttl_s,))
            row = db.execute(f"{_LEASE} WHERE holder = ?", (holder,)).fetchone()
            if row is not None:
                return self._again(db, _lease(row), owner, now, ttl_s)
            free = db.execute(_FREE, {"now": now, "guarded": self._guarded, "name": name}).fetchone()
            network = db.execute("SELECT body FROM network").fetchone()
            if free is None or network is None:
                raise self._none_free(db, holder, now)
            name, mac, address = free
            db.execute(
                "INSERT INTO epoch (name, value) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1",
                (name,),
            )
            epoch = db.execute("SELECT value FROM epoch WHERE name = ?", (name,)).fetchone()[0]
            # Whoever held one of these and let it run out has lost it now.
            db.execute("DELETE FROM lease WHERE name = ? OR mac = ? OR address = ?", (name, mac, address))
            values = (name, mac, address, network[0], holder, owner, epoch, now + ttl_s)
            db.execute("INSERT INTO lease VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        return _lease(values)

    def _none_free(self, db: sqlite3.Connection, holder: str, now: float) -> DirectoryError:
        total = db.execute("SELECT count(*) FROM pool").fetchone()[0]
        reason = f"none of the {total} host names of the pool is free"
        if now < self._guarded:
            left = f"{self._guarded - now:.0f} s"
            reason += f"; for {left} after the nameserver's start those are kept that somebody had before"
        hint = "more names can be listed under `pool` of the nameserver's configuration"
        return DirectoryError(object="lease", value=holder, reason=reason, hint=hint)

    def _again(self, db: sqlite3.Connection, lease: Lease, owner: str, now: float, ttl_s: float) -> Lease:
        if lease.owner != owner and max(lease.expires, self._guarded) > now:
            raise StateError(object=f"lease of {lease.holder}", value=owner, reason=f"belongs to {lease.owner}")
        lease = replace(lease, owner=owner, expires=now + ttl_s)
        db.execute("UPDATE lease SET owner = ?, expires = ? WHERE name = ?", (owner, lease.expires, lease.name))
        return lease

    def renew(self, owner: str, holders: Tuple[str, ...], ttl_s: float) -> Tuple[Lease, ...]:
        now = self._clock.now()
        renewed = []
        with self._transaction() as db:
            db.execute(_TERM, (ttl_s,))
            for holder in holders:
                row = db.execute(f"{_LEASE} WHERE holder = ? AND owner = ?", (holder, owner)).fetchone()
                if row is not None:
                    renewed.append(self._again(db, _lease(row), owner, now, ttl_s))
        return tuple(renewed)

    def release(self, holder: str, epoch: int) -> bool:
        with self._transaction() as db:
            done = db.execute("DELETE FROM lease WHERE holder = ? AND epoch = ?", (holder, epoch))
        return done.rowcount > 0

    def leases(self) -> Tuple[Lease, ...]:
        with self._transaction() as db:
            rows = db.execute(f"{_LEASE} WHERE expires > ? ORDER BY name", (self._clock.now(),)).fetchall()
        return tuple(_lease(row) for row in rows)

    def set_host_names(self, pool: HostNames) -> None:
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO network VALUES (0, ?)", (_dump(pool.network),))
            db.execute("DELETE FROM pool")
            db.executemany(
                "INSERT INTO pool (position, name, mac, address) VALUES (?, ?, ?, ?)",
                [(index, item.name, item.mac, item.address) for index, item in enumerate(pool.names)],
            )

    def pool_size(self) -> int:
        """Return how many host names can be leased in all."""
        row = self._one("SELECT count(*) FROM pool")
        return int(row[0]) if row else 0

    # -- tags

    def set_tags(self, tags: Tuple[str, ...], release: Release) -> Tuple[TagEntry, ...]:
        version = release.claims().version
        entries = tuple(TagEntry(check_tag(tag), release, self._clock.now()) for tag in tags)
        with self._transaction() as db:
            return tuple(self._set_tag(db, entry, version) for entry in entries)

    @staticmethod
    def _set_tag(db: sqlite3.Connection, entry: TagEntry, version: int) -> TagEntry:
        row = db.execute("SELECT entry FROM catalogue WHERE tag = ?", (entry.tag,)).fetchone()
        before = _tag_entry(row) if row else None
        if before is not None and before == replace(entry, updated=before.updated):
            return before
        newest = before.release.claims().version if before else 0
        if version < newest:
            raise StateError(
                object=f"image tag {entry.tag}", value=f"version {version}",
                reason=f"is older than version {newest}, which it points to",
                hint="to go back to an older image, sign it again: `wnodes images tag`",
            )  # fmt: skip
        db.execute("INSERT OR REPLACE INTO catalogue VALUES (?, ?)", (entry.tag, _dump(entry)))
        if before is None or before.release != entry.release:
            db.execute("INSERT INTO history (tag, entry) VALUES (?, ?)", (entry.tag, _dump(entry)))
        return entry

    def roll_out(self, tag: str, rollout: Optional[Rollout]) -> TagEntry:
        if rollout is not None:
            rollout.release.claims()
        with self._transaction() as db:
            row = db.execute("SELECT entry FROM catalogue WHERE tag = ?", (tag,)).fetchone()
            if row is not None:
                entry = replace(_tag_entry(row), rollout=rollout)
                db.execute("UPDATE catalogue SET entry = ? WHERE tag = ?", (_dump(entry), tag))
                return entry
        return self.tag(tag)

    def history(self, tag: str) -> Tuple[TagEntry, ...]:
        with self._transaction() as db:
            rows = db.execute("SELECT entry FROM history WHERE tag = ? ORDER BY id DESC", (tag,)).fetchall()
        return tuple(_tag_entry(row) for row in rows)

    def tag(self, tag: str) -> TagEntry:
        row = self._one("SELECT entry FROM catalogue WHERE tag = ?", tag)
        if row is None:
            known = ", ".join(entry.tag for entry in self.tags()) or "none"
            hint = f"there are: {known}"
            raise NotFoundError(object="image tag", value=tag, reason="is not in the directory", hint=hint)
        return _tag_entry(row)

    def tags(self) -> Tuple[TagEntry, ...]:
        with self._transaction() as db:
            rows = db.execute("SELECT entry FROM catalogue ORDER BY tag").fetchall()
        return tuple(_tag_entry(row) for row in rows)

    def remove_tag(self, tag: str) -> bool:
        with self._transaction() as db:
            return db.execute("DELETE FROM catalogue WHERE tag = ?", (tag,)).rowcount > 0

    # -- configuration

    def set_config(self, scope: str, values: Dict[str, Any]) -> None:
        self._one("INSERT OR REPLACE INTO config VALUES (?, ?)", scope, _dump(values))

    def config(self, scope: str) -> Dict[str, Any]:
        row = self._one("SELECT body FROM config WHERE scope = ?", scope)
        return dict(json.loads(row[0])) if row else {}

    # -- heartbeats: only the last ones matter and they come again by themselves, so they stay in memory

    def beat(self, heartbeat: Heartbeat) -> None:
        with self._lock:
            self._heartbeats[heartbeat.host, heartbeat.role] = replace(heartbeat, at=self._clock.now())

    def heartbeats(self) -> Tuple[Heartbeat, ...]:
        with self._lock:
            return tuple(self._heartbeats[key] for key in sorted(self._heartbeats))

    # -- a host that has left

    def forget(self, host: str) -> Tuple[str, ...]:
        scopes = tuple(f"{role}/{host}" for role in _ROLES)
        with self._transaction() as db:
            found = db.execute(
                "SELECT 'lease', name FROM lease WHERE owner = ? UNION ALL "
                "SELECT 'configuration', scope FROM config WHERE scope IN (?, ?) ORDER BY 1, 2", (host, *scopes),
            ).fetchall()  # fmt: skip
            db.execute("DELETE FROM lease WHERE owner = ?", (host,))
            db.execute("DELETE FROM config WHERE scope IN (?, ?)", scopes)
            found += [("heartbeat of the", role) for role in _ROLES if self._heartbeats.pop((host, role), None)]
        return tuple(f"{what} {name}" for what, name in found)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
