# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backup of the directory in its SQLite file, while it is in use; and its return, while it is not."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from typing import Iterable, Iterator

from ..model.codec import encode
from ..model.errors import RequestError
from ..model.lease import Lease

#: more leases of one name than there can have been since the backup: no epoch is given twice
EPOCHS = 1_000_000
#: for how long a lease that a hypervisor told of is good, in seconds; the hypervisor renews it long before
KEEP_S = 600.0
_TABLES = {"catalogue", "config", "epoch", "history", "lease", "pool"}


def save(source: str, target: str) -> None:
    """Copy the directory at ``source``, as it is at one moment, into the new file ``target``.

    :raises RequestError: there is none, or ``target`` is there already or can't be written
    """
    with _errors(f"backup {target}"):
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        _copy(source, target)


def load(source: str, target: str, leases: Iterable[Lease], now: float) -> None:
    """Put the backup ``source`` into the place of the directory at ``target``, which nobody may have open.

    :param leases: what hypervisors hold: VMs that were made since the backup keep their names
    :raises RequestError: the backup is damaged or none of ours; ``target`` is as before
    """
    partial = f"{target}.restore"
    with _errors(f"backup {source}"):
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        _remove(partial)
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        _copy(source, partial)
        with contextlib.closing(sqlite3.connect(partial)) as db:
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if db.execute("PRAGMA integrity_check").fetchone() != ("ok",) or not tables >= _TABLES:
                raise RequestError(object=f"backup {source}", reason="is damaged, or no backup of a directory")
            with db:
                db.execute("UPDATE epoch SET value = value + ?", (EPOCHS,))
                for lease in leases:
                    _keep(db, lease, now + KEEP_S)
        _remove(f"{target}-wal", f"{target}-shm")
        os.replace(partial, target)


def _keep(db: sqlite3.Connection, lease: Lease, expires: float) -> None:
    """Let the holder of ``lease`` have it, whoever has it in the backup: its VM runs."""
    who = (lease.name, lease.mac, lease.address, lease.holder)
    db.execute("DELETE FROM lease WHERE name = ? OR mac = ? OR address = ? OR holder = ?", who)
    row = (*who[:3], json.dumps(encode(lease.network)), lease.holder, lease.owner, lease.epoch, expires)
    db.execute("INSERT INTO lease VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    db.execute("INSERT OR IGNORE INTO epoch (name, value) VALUES (?, ?)", (lease.name, lease.epoch + EPOCHS))


def _copy(source: str, target: str) -> None:
    there = sqlite3.connect(f"file:{source}?mode=ro", uri=True)
    with contextlib.closing(there), contextlib.closing(sqlite3.connect(target)) as copy:
        there.backup(copy)
        # one file: nothing beside it, and one rename puts it into place
        copy.execute("PRAGMA journal_mode=DELETE")


def _remove(*paths: str) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


@contextlib.contextmanager
def _errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(object=what, value=str(error.filename or ""), reason=reason) from None
    except sqlite3.Error as error:
        raise RequestError(object=what, reason=str(error)) from None
