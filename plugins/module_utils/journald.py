# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records for systemd-journald by its native protocol: one datagram a record, and nobody ever waits for it."""

from __future__ import annotations

import collections
import socket
import struct
from typing import Deque, Mapping, Optional

SOCKET = "/run/systemd/journal/socket"
#: bytes that wait for journald; its socket takes a few records at once, and none while it is restarted
MAX_WAITING = 4 << 20
#: bytes of one record; a datagram's own limit is 208 KiB where nobody has changed it
MAX_RECORD = 128 << 10


def datagram(fields: Mapping[str, str]) -> bytes:
    """Return a record; names are of A-Z 0-9 _, values may hold anything."""
    parts = []
    for name, value in fields.items():
        data = value.encode("utf-8", "backslashreplace")
        if b"\n" in data:
            parts.append(b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(data)), data))
        else:
            parts.append(b"%s=%s\n" % (name.encode(), data))
    return b"".join(parts)


class Journald:
    """The node's journal. Not for several threads at once.

    :param path: journald's socket
    :param limit: bytes that may wait
    """

    def __init__(self, path: str = SOCKET, limit: int = MAX_WAITING) -> None:
        self._path, self._limit = path, limit
        self._waiting: Deque[bytes] = collections.deque()
        self._bytes = 0
        self._socket: Optional[socket.socket] = None

    @property
    def waiting(self) -> bool:
        """Whether records wait; ``flush`` again in a moment."""
        return bool(self._waiting)

    def put(self, fields: Mapping[str, str]) -> bool:
        """Take a record; False, and it is lost, where it is over ``MAX_RECORD`` or too much waits already."""
        record = datagram(fields)
        if len(record) > MAX_RECORD or self._bytes + len(record) > self._limit:
            return False
        self._waiting.append(record)
        self._bytes += len(record)
        return True

    def flush(self) -> None:
        """Send what journald takes now."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        while self._waiting:
            try:
                self._socket.sendto(self._waiting[0], self._path)
            except OSError:  # it is busy, or away
                return
            self._bytes -= len(self._waiting.popleft())

    def close(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        self._bytes = 0
        if self._socket is not None:
            self._socket.close()
            self._socket = None
