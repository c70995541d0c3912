# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hypervisor's events: the last ones in memory, for whoever waits."""

from __future__ import annotations

import collections
import threading
import time
from typing import Deque, Dict, Tuple

from ..model.vm import VmEvent

KEPT = 10_000


class EventLog:
    """Numbered events from 1 on. What a reader missed here, it reads from the VMs' states."""

    def __init__(self) -> None:
        self._events: Deque[VmEvent] = collections.deque(maxlen=KEPT)
        self._seq = 0
        self._closed = False
        self._cond = threading.Condition()

    def emit(self, vm_id: str, kind: str, data: Dict[str, str]) -> None:
        """Add an event and wake those who wait."""
        with self._cond:
            self._seq += 1
            self._events.append(VmEvent(self._seq, vm_id, kind, data))
            self._cond.notify_all()

    def close(self) -> None:
        """Let go of those who wait: there will be no more events."""
        with self._cond:
            self._closed = True
            self._cond.notify_all()

    def after(self, seq: int, timeout_s: float) -> Tuple[VmEvent, ...]:
        """Return events with a number above ``seq``, waiting up to ``timeout_s`` seconds for the first.

        A ``seq`` that was never given out comes from before a restart: such a reader gets all there is.
        """
        end = time.monotonic() + timeout_s
        with self._cond:
            while True:
                if seq > self._seq and self._events:
                    return tuple(self._events)
                found = tuple(event for event in self._events if event.seq > seq) if seq < self._seq else ()
                left = end - time.monotonic()
                if found or left <= 0 or self._closed:
                    return found
                self._cond.wait(left)
