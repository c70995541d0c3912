# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users and groups of an image that is not running: the lines that ``useradd`` and ``groupadd`` would write.

Computed, so that check mode knows each number and no program of the image has to be started for them.
"""

from __future__ import annotations

import itertools
import re
from typing import List, Optional, Sequence, Set, Tuple

from ...model.errors import ImageError
from .operations import GroupOp, UserOp
from .view import File, Folder, ImageView, number, want_parents

_LOCKED = re.compile(r"[!*]")
#: blanks but no line breaks, else a file of nothing but line breaks would take for ever
_LIMIT = re.compile(r"^[ \t]*([A-Z_]+)[ \t]+([0-9]{1,10})[ \t]*$", re.MULTILINE)
#: an empty day of the last change: no ageing, and the same image tomorrow
_SHADOW = ["!", "", "0", "99999", "7", "", "", ""]


class _Table:
    """The lines of one account file, as lists of ``width`` fields."""

    def __init__(self, view: ImageView, path: str, width: int) -> None:
        self._view, self._path = view, path
        self.exists = view.look(path) is not None
        self.rows = view.table(path)
        for row in self.rows:
            if len(row) != width and row[0][:1] not in ("+", "-"):  # those are NIS's
                raise ImageError(object=path, value=":".join(row)[:80], reason=f"is not a line of {width} fields")

    def find(self, name: str) -> Optional[List[str]]:
        return next((row for row in self.rows if row[0] == name), None)

    def numbers(self) -> Set[int]:
        found = (number(row[2]) for row in self.rows if len(row) > 2)
        return {one for one in found if one is not None}

    def add(self, row: List[str]) -> List[str]:
        self.rows.append(row)
        return row

    def save(self) -> None:
        if self.exists and self.rows != self._view.table(self._path):
            node = self._view.text(self._path)[1]
            content = "".join(":".join(row) + "\n" for row in self.rows).encode()
            self._view.want(self._path, File(content, node.mode, node.uid, node.gid))


class _Accounts:
    def __init__(self, view: ImageView) -> None:
        self._view = view
        self._passwd, self._group = _Table(view, "/etc/passwd", 7), _Table(view, "/etc/group", 4)
        self._shadow, self._gshadow = _Table(view, "/etc/shadow", 9), _Table(view, "/etc/gshadow", 4)
        for table, path in ((self._passwd, "/etc/passwd"), (self._group, "/etc/group")):
            if not table.exists:
                raise ImageError(object=path, reason="is not in the image")
        known = "/etc/login.defs"
        text = view.text(known)[0] if view.look(known) is not None else ""
        self._limits = {name: int(value) for name, value in _LIMIT.findall(text)}

    def save(self) -> None:
        for table in (self._passwd, self._group, self._shadow, self._gshadow):
            table.save()

    def group(self, name: str, gid: Optional[int], *, system: bool) -> List[str]:
        row = self._group.find(name)
        if row is None:
            gid = self._free("GID", self._group.numbers(), system) if gid is None else gid
            self._unused(self._group, gid, f"group {name}")
            if self._gshadow.find(name) is None:
                self._gshadow.add([name, "!", "", ""])
            return self._group.add([name, "x" if self._gshadow.exists else "!", str(gid), ""])
        if gid is not None and row[2] != str(gid):
            self._unused(self._group, gid, f"group {name}")
            row[2] = str(gid)
        return row

    def user(self, op: UserOp) -> None:
        row = self._passwd.find(op.name) or self._new(op)
        if op.uid is not None and row[2] != str(op.uid):
            self._unused(self._passwd, op.uid, f"user {op.name}")
            row[2] = str(op.uid)
        if op.group is not None:
            row[3] = self._gid(op.group, op.name)
        for index, value in ((4, op.comment), (5, op.home), (6, op.shell)):
            row[index] = row[index] if value is None else value
        self._lock(row)
        for name in op.groups:
            self._join(op.name, name)
        if op.home is not None or not op.system:
            self._home(row)

    def _new(self, op: UserOp) -> List[str]:
        uid = self._free("UID", self._passwd.numbers(), op.system) if op.uid is None else op.uid
        self._unused(self._passwd, uid, f"user {op.name}")
        if op.group is not None:
            gid = self._gid(op.group, op.name)
        else:
            same = None if uid in self._group.numbers() else uid
            own = self._group.find(op.name) or self.group(op.name, same, system=op.system)
            gid = own[2]
        home = "/nonexistent" if op.system else f"/home/{op.name}"
        shells = ["/usr/sbin/nologin", "/sbin/nologin"] if op.system else ["/bin/bash", "/bin/sh"]
        shell = next((shell for shell in shells if self._view.look(shell) is not None), shells[-1])
        return self._passwd.add([op.name, "", str(uid), gid, "", home, shell])

    def _lock(self, row: List[str]) -> None:
        row[1] = "x" if self._shadow.exists else "!"
        secret = self._shadow.find(row[0]) or self._shadow.add([row[0], *_SHADOW])
        if not _LOCKED.match(secret[1]):
            secret[1] = "!"

    def _join(self, user: str, name: str) -> None:
        if self._group.find(name) is None:
            raise ImageError(
                object=f"user {user}", value=name, reason="is no group of the image", hint="add it to groups"
            )
        for table in (self._group, self._gshadow):
            row = table.find(name)
            members = row[3].split(",") if row is not None and row[3] else []
            if row is not None and user not in members:
                row[3] = ",".join([*members, user])

    def _home(self, row: List[str]) -> None:
        uid, gid, home = number(row[2]), number(row[3]), row[5]
        if home != "/" and uid is not None and gid is not None and self._view.look(home) is None:
            want_parents(self._view, home)
            self._view.want(home, Folder(0o700, uid, gid))

    def _gid(self, group: str, user: str) -> str:
        row = next((row for row in self._group.rows if group in (row[0], *row[2:3])), None)
        if row is None:
            raise ImageError(
                object=f"user {user}", value=group, reason="is no group of the image", hint="add it to groups"
            )
        return row[2]

    @staticmethod
    def _unused(table: _Table, wanted: int, what: str) -> None:
        if wanted in table.numbers():
            raise ImageError(
                object=what, value=str(wanted), reason="is the number of another one", hint="choose another number"
            )

    def _free(self, kind: str, used: Set[int], system: bool) -> int:
        """Return the number that shadow's tools choose: after the highest, for the system's before the lowest."""
        low, high = self._range(kind, system)
        inside = {one for one in used if low <= one <= high}
        first = min(inside, default=high + 1) - 1 if system else max(inside, default=low - 1) + 1
        others = range(high, low - 1, -1) if system else range(low, high + 1)
        for one in itertools.chain([first], others):
            if low <= one <= high and one not in used:
                return one
        raise ImageError(object=f"range {kind}", value=f"{low}-{high}", reason="of the image's login.defs is used up")

    def _range(self, kind: str, system: bool) -> Tuple[int, int]:
        low = self._limits.get(f"{kind}_MIN", 1000)
        if system:
            return self._limits.get(f"SYS_{kind}_MIN", 101), self._limits.get(f"SYS_{kind}_MAX", low - 1)
        return low, self._limits.get(f"{kind}_MAX", 60000)


def plan_accounts(view: ImageView, groups: Sequence[GroupOp], users: Sequence[UserOp]) -> None:
    """State in ``view`` what ``groups`` and ``users`` ask for; raise ImageError for what the image can't take."""
    if not groups and not users:
        return
    accounts = _Accounts(view)
    for group in groups:
        accounts.group(group.name, group.gid, system=group.system)
    for user in users:
        accounts.user(user)
    accounts.save()
