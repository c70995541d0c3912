# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop that drives state machines: a step a key, never two steps of one key at once.

A step looks at what is true, does the next thing and says when it wants to be called again; whatever happens in
between calls it sooner. Driven by threads in a service, and by hand (``run_due``) in tests and the simulator.
"""

from __future__ import annotations

import heapq
import logging
import threading
from typing import Callable, Dict, List, Optional, Set, Tuple

from ..model.clock import Clock
from ..model.errors import WnodesError

log = logging.getLogger(__name__)

#: a step returns the seconds after which it wants to be called again; None: only when woken
Step = Callable[[str], Optional[float]]


class Reconciler:
    """Calls ``step(key)`` for each key that is due.

    :param step: the state machine's step
    :param failed: told of each error a step raised; the key is tried again with growing pauses
    :param retry_s: first pause and longest pause after errors, in seconds
    """

    def __init__(
        self,
        step: Step,
        clock: Clock,
        failed: Callable[[str, Exception], None],
        retry_s: Tuple[float, float] = (0.5, 30.0),
    ) -> None:
        self._step, self._clock, self._failed, self._retry_s = step, clock, failed, retry_s
        self._cond = threading.Condition()
        self._heap: List[Tuple[float, str]] = []
        self._due: Dict[str, float] = {}
        self._busy: Set[str] = set()
        self._again: Set[str] = set()
        self._errors: Dict[str, int] = {}
        self._threads: List[threading.Thread] = []
        self._stopping = False

    def wake(self, key: str, after_s: float = 0.0) -> None:
        """Call the step of ``key`` after ``after_s`` seconds at the latest."""
        with self._cond:
            if key in self._busy and after_s <= 0:
                self._again.add(key)
                return
            self._schedule(key, self._clock.now() + after_s)

    def _schedule(self, key: str, due: float) -> None:
        if key not in self._due or due < self._due[key]:
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))
            self._cond.notify()

    def _take(self) -> Tuple[Optional[str], Optional[float]]:
        """Return a due key, or None and the seconds until the next one (None: nothing is planned)."""
        now = self._clock.now()
        while self._heap:
            due, key = self._heap[0]
            if self._due.get(key) != due or key in self._busy:
                heapq.heappop(self._heap)
                continue
            if due > now:
                return None, due - now
            heapq.heappop(self._heap)
            del self._due[key]
            self._busy.add(key)
            return key, None
        return None, None

    def _run(self, key: str) -> None:
        after: Optional[float]
        try:
            after = self._step(key)
            self._errors.pop(key, None)
        except Exception as error:  # the loop outlives whatever one key does
            count = self._errors[key] = self._errors.get(key, 0) + 1
            after = min(self._retry_s[0] * 2 ** (count - 1), self._retry_s[1])
            if not isinstance(error, WnodesError):
                log.exception("step of %s failed", key)
            self._failed(key, error)
        with self._cond:
            self._busy.discard(key)
            if key in self._again:
                self._again.discard(key)
                after = 0.0
            if after is not None:
                due = self._clock.now() + after
                self._schedule(key, min(due, self._due.get(key, due)))
            if key in self._due:
                heapq.heappush(self._heap, (self._due[key], key))
                self._cond.notify()

    def run_now(self, key: str) -> None:
        """Run the step of ``key`` in this thread, unless another runs it now; the step's errors are the caller's."""
        with self._cond:
            if key in self._busy:
                return
            self._busy.add(key)
        try:
            self._step(key)
        finally:
            with self._cond:
                self._busy.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self._schedule(key, self._clock.now())

    def run_due(self, limit: int = 10_000) -> int:
        """Run every step that is due now, in this thread; return how many were run."""
        for count in range(limit):
            with self._cond:
                key, _wait = self._take()
            if key is None:
                return count
            self._run(key)
        return limit

    def next_due(self) -> Optional[float]:
        """Return the time of the next planned step, or None."""
        with self._cond:
            return min(self._due.values(), default=None)

    def start(self, workers: int, name: str) -> None:
        """Start ``workers`` threads that run steps until ``stop``."""
        for index in range(workers):
            thread = threading.Thread(target=self._work, name=f"{name}-{index}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _work(self) -> None:
        while True:
            with self._cond:
                key, wait = self._take()
                if self._stopping:
                    return
                if key is None:
                    self._cond.wait(wait)
                    continue
            self._run(key)

    def stop(self, timeout_s: float = 10.0) -> None:
        """Let running steps end, start no more; return after ``timeout_s`` seconds at the latest."""
        with self._cond:
            self._stopping = True
            self._cond.notify_all()
        for thread in self._threads:
            thread.join(timeout_s)
