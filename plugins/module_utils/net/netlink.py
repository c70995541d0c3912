# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell when the kernel changes a device, an address or a route, so that nobody has to poll."""

from __future__ import annotations

import select
import socket
import time
from types import TracebackType
from typing import Callable, Optional, Type

#: RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE of linux/rtnetlink.h
GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400


def _subscribe() -> socket.socket:
    listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    listener.bind((0, GROUPS))
    return listener


class NetworkEvents:
    """A subscription to the kernel's route messages; open it *before* the change, so that none is missed."""

    def __init__(self, subscribe: Callable[[], socket.socket] = _subscribe) -> None:
        self._socket = subscribe()
        self._socket.setblocking(False)

    def __enter__(self) -> NetworkEvents:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._socket.close()

    def wait_until(self, reached: Callable[[], bool], limit_s: float) -> bool:
        """Ask ``reached`` now and after every event, for at most ``limit_s`` seconds; return its last answer."""
        deadline = time.monotonic() + limit_s
        while not reached():
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                return reached()
            self._drain()
        return True

    def _drain(self) -> None:
        # What changed does not matter: `reached` reads the state itself. A full buffer (ENOBUFS) is an event too.
        try:
            while self._socket.recv(65536):
                continue
        except OSError:
            return
