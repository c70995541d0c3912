# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether everything that drives a service goes on: each of its loops is known here by name.

systemd hears of us only while no loop is stuck, and a loop that is stuck is named in the service's status and metrics.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Callable, Dict, Optional, Tuple

#: seconds after which a loop that does nothing is stuck; a step may wait for a batch system and for a guest
LIMIT_S = 300.0


@dataclass(frozen=True)
class Vitals:
    """How a loop is.

    :param stuck: why it does not go on; empty while it does
    :param threads: of its threads, how many are alive
    :param errors: its steps that failed since the start
    :param late: what it should have looked at long ago
    """

    stuck: str = ""
    threads: int = 0
    errors: int = 0
    late: int = 0


class Loop:
    """A loop in one thread, which calls ``beat`` in each round.

    :param limit_s: the longest that a round may take, with the wait for the next one, in seconds
    """

    def __init__(self, limit_s: float, now: Callable[[], float]) -> None:
        self._limit_s, self._now = limit_s, now
        self._at, self._errors = now(), 0
        self._thread: Optional[threading.Thread] = None

    def beat(self) -> None:
        """Note that a round begins."""
        self._at, self._thread = self._now(), threading.current_thread()

    def failed(self) -> None:
        """Note that a round failed."""
        self._errors += 1

    def vitals(self) -> Vitals:
        """Return how it is."""
        alive = self._thread is not None and self._thread.is_alive()
        silent_s = self._now() - self._at
        stuck = ""
        if self._thread is not None and not alive:
            stuck = "has ended"
        elif silent_s > self._limit_s:
            stuck = f"has been stuck for {silent_s:.0f} s"
        return Vitals(stuck, int(alive), self._errors)


class Pulse:
    """The loops of a service.

    :param now: counts seconds; it is never set
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._watched: Dict[str, Callable[[], Vitals]] = {}

    def loop(self, name: str, limit_s: float = LIMIT_S) -> Loop:
        """Return a loop that has to ``beat`` from now on, at least every ``limit_s`` seconds."""
        loop = Loop(limit_s, self._now)
        self.watch(name, loop.vitals)
        return loop

    def watch(self, name: str, vitals: Callable[[], Vitals]) -> None:
        """Look after something that tells by itself how it is; it must answer at once."""
        self._watched[name] = vitals

    def vitals(self) -> Dict[str, Vitals]:
        """Return how each loop is, by name."""
        return {name: vitals() for name, vitals in self._watched.items()}

    def problems(self) -> Tuple[str, ...]:
        """Return a sentence for each loop that is stuck."""
        return tuple(f"loop {name} {one.stuck}" for name, one in self.vitals().items() if one.stuck)
