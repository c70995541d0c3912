# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listening sockets that nobody can wear out: so many connections of one user, so many in all, root always.

What is beyond that is closed as soon as it is accepted, before anything else of the service knows of it.
"""

from __future__ import annotations

import socket
import struct
import threading
import weakref
from dataclasses import dataclass, field
from typing import Any


def credentials(connection: socket.socket) -> tuple[int, int, int]:
    """Return pid, uid and gid of the process at the other end of a Unix socket."""
    pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid, gid


#: the bounds of this process's listeners
_BOUNDS: weakref.WeakSet[Bounds] = weakref.WeakSet()


def refused() -> int:
    """Return how many connections this process has refused since its start."""
    return sum(bounds.refused for bounds in _BOUNDS)


@dataclass(eq=False)
class Bounds:
    """How many connections a listener has at once, and how many it refused.

    :param all: of all callers together, but for root at a Unix socket; None: any number
    :param each: of one user at a Unix socket
    """

    all: int | None = None
    each: int = 16
    refused: int = 0
    _held: dict[int | None, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, uid: int | None) -> bool:
        """Return whether one more connection of ``uid`` (None: not known) may come in, and count it."""
        with self._lock:
            mine = self._held.get(uid, 0)
            others = sum(count for who, count in self._held.items() if who != 0)
            full = self.all is not None and others >= self.all
            if uid != 0 and (full or (uid is not None and mine >= self.each)):
                self.refused += 1
                return False
            self._held[uid] = mine + 1
            return True

    def leave(self, uid: int | None) -> None:
        """Note that a connection of ``uid`` has ended."""
        with self._lock:
            self._held[uid] -= 1
            if not self._held[uid]:
                del self._held[uid]


class _Connection(socket.socket):
    """A connection that tells its bounds when it is closed."""

    bounds: Bounds | None = None
    uid: int | None = None

    def close(self) -> None:
        super().close()
        bounds, self.bounds = self.bounds, None
        if bounds is not None:
            bounds.leave(self.uid)


class Listener(socket.socket):
    """A socket whose ``accept`` keeps to ``bounds``."""

    #: refused in one go, before whoever calls ``accept`` gets something else to do
    REFUSALS = 64

    def __init__(self, family: int, type: int, proto: int = 0, *, bounds: Bounds) -> None:
        super().__init__(family, type, proto)
        self.bounds = bounds
        _BOUNDS.add(bounds)

    def accept(self) -> tuple[socket.socket, Any]:
        for _ in range(self.REFUSALS):
            # what socket.accept itself is made of; the type stubs do not know it
            descriptor, address = self._accept()  # type: ignore[attr-defined]
            connection = _Connection(self.family, self.type, self.proto, fileno=descriptor)
            uid = credentials(connection)[1] if self.family == socket.AF_UNIX else None
            if self.bounds.enter(uid):
                connection.bounds, connection.uid = self.bounds, uid
                return connection, address
            connection.close()
        raise BlockingIOError
