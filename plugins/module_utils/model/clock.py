# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time and failure are passed in, so that tests and the simulator own both."""

from __future__ import annotations

import os
import signal
import time
from typing import Callable, Dict


class Clock:
    """Wall clock, in seconds since the epoch (UTC)."""

    def now(self) -> float:
        """Return the current time in seconds."""
        return time.time()


class FakeClock(Clock):
    """A clock that moves only when told to."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock forward by ``seconds``."""
        self._now += seconds


class Failpoints:
    """Named places at which a test may make the program fail; in production every place is silent."""

    def __init__(self) -> None:
        self._actions: Dict[str, Callable[[], None]] = {}

    def set(self, name: str, action: Callable[[], None]) -> None:
        """Run ``action`` once, the next time the place ``name`` is reached."""
        self._actions[name] = action

    def hit(self, name: str) -> None:
        """Mark the place ``name``."""
        action = self._actions.pop(name, None)
        if action is not None:
            action()

    @classmethod
    def from_environment(cls, text: str) -> Failpoints:
        """Build from ``name[,name…]``: the process kills itself with SIGKILL at each of the named places."""
        points = cls()
        for name in filter(None, text.split(",")):
            points.set(name.strip(), lambda: os.kill(os.getpid(), signal.SIGKILL))
        return points
