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
    """Time in seconds since the epoch (UTC) that no step of the machine's clock moves.

    ``now`` is the machine's clock as it was when this object was made, plus the time that has passed since. What is
    compared with other machines' times, as the end of a certificate, is compared with ``wall``.

    :param wall: the machine's clock
    :param steady: counts seconds, from anywhere; it is never set
    :param stretch: tells how much slower than a free machine this one is, from 1 on
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        stretch: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self._wall, self._steady, self._stretch = wall, steady, stretch
        self._offset = wall() - steady()
        #: when this object was made, by ``now``
        self.started = self.now()

    def now(self) -> float:
        """Return the current time in seconds; the difference of two answers is the time between them."""
        return self._offset + self._steady()

    def wall(self) -> float:
        """Return what the machine's clock says, in seconds."""
        return self._wall()

    def since(self, at: float) -> float:
        """Return the seconds since ``at``, never less than 0; of what was noted before this start, since this start.

        The clock may have been set in between, and nobody has looked after things while we were not there: no limit
        runs out because of either.

        :param at: a time that this service has noted by ``now``, and may have read from disk
        """
        now = self.now()
        return now - (at if self.started <= at <= now else self.started)

    def is_late(self, at: float, limit_s: float) -> bool:
        """Return whether what began at ``at`` takes longer than ``limit_s`` seconds of a free machine's."""
        passed = self.since(at)
        return passed > limit_s and passed > limit_s * self._stretch()


class FakeClock(Clock):
    """A clock that moves only when told to.

    :ivar stretched: how much slower than a free one its machine is
    """

    def __init__(self, now: float = 1_000_000.0) -> None:
        self._time, self._stepped, self.stretched = now, 0.0, 1.0
        super().__init__(lambda: self._time + self._stepped, lambda: self._time, lambda: self.stretched)

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self._time += seconds

    def step(self, seconds: float) -> None:
        """Set the machine's clock ahead by ``seconds``, or back."""
        self._stepped += seconds


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
