# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop that drives state machines: a step a key, never two steps of one key at once.

A step looks at what is true, does the next thing and says when it wants to be called again; whatever happens in
between calls it sooner. Driven by threads in a service, and by hand (``run_due``) in tests and the simulator.
Whatever a step raises, its thread and its key live on.
"""

from __future__ import annotations

import heapq
import logging
import threading
from typing import Callable, Dict, List, Mapping, Optional, Set, Tuple

from ..model.clock import Clock
from ..model.errors import WnodesError
from .backoff import backoff
from .pulse import LIMIT_S, Vitals

log = logging.getLogger(__name__)

#: a step returns the seconds after which it wants to be called again; None: only when woken
Step = Callable[[str], Optional[float]]

#: seconds after which an error that stays the same is logged again
REMIND_S = 3600.0
#: seconds after which a key that is due counts as late
LATE_S = 30.0


class _Trouble:
    """What a key has failed with: how often in a row, and what was logged of it, by which part of it."""

    def __init__(self) -> None:
        self.count = 0
        self._told: Dict[str, Tuple[str, float]] = {}

    def is_news(self, part: str, text: str, now: float) -> bool:
        """Return whether ``text`` is to be logged, and take it that it is."""
        before, at = self._told.get(part, ("", now))
        if text == before and now - at < REMIND_S:
            return False
        self._told[part] = text, now
        return True


class Reconciler:
    """Calls ``step(key)`` for each key that is due.

    An error is logged once; again when it changes, or after an hour.

    :param step: the state machine's step
    :param failed: told of each error a step raised; the key is tried again with growing pauses
    :param retry_s: first pause and longest pause after errors, in seconds
    :param label: what logs call a key
    :param limits_s: the longest that steps of some keys may take, in seconds; one that takes longer is stuck
    """

    def __init__(
        self,
        step: Step,
        clock: Clock,
        failed: Callable[[str, Exception], None],
        retry_s: Tuple[float, float] = (0.5, 30.0),
        label: Callable[[str], str] = str,
        limits_s: Optional[Mapping[str, float]] = None,
    ) -> None:
        self._step, self._clock, self._failed, self._retry_s, self._label = step, clock, failed, retry_s, label
        self._limits_s = limits_s or {}
        self._cond = threading.Condition()
        self._heap: List[Tuple[float, str]] = []
        self._due: Dict[str, float] = {}
        self._busy: Dict[str, float] = {}
        self._again: Set[str] = set()
        self._trouble: Dict[str, _Trouble] = {}
        self._errors, self._progress = 0, clock.now()
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
            self._busy[key] = now
            return key, None
        return None, None

    def _run(self, key: str) -> None:
        after: Optional[float] = self._retry_s[1]
        try:
            after = self._attempt(key)
        finally:
            self._done(key, after)

    def _attempt(self, key: str) -> Optional[float]:
        try:
            after = self._step(key)
        except Exception as error:  # the loop outlives whatever one key does
            return self._troubled(key, error)
        self._trouble.pop(key, None)
        return after

    def _troubled(self, key: str, error: Exception) -> float:
        trouble = self._trouble.setdefault(key, _Trouble())
        trouble.count += 1
        with self._cond:
            self._errors += 1
        self._tell(key, trouble, "step", error)
        try:
            self._failed(key, error)
        except Exception as another:  # a full disk fails what failed and what was to be noted of it
            self._tell(key, trouble, "what follows its failure", another)
        return backoff(trouble.count, *self._retry_s)

    def _tell(self, key: str, trouble: _Trouble, part: str, error: Exception) -> None:
        ours = isinstance(error, WnodesError)
        text = str(error) if ours else f"{part} failed: {error!r}"
        if not trouble.is_news(part, text, self._clock.now()):
            log.debug("%s: %s", self._label(key), text)
        elif ours:
            log.warning("%s: %s; is tried again", self._label(key), text)
        else:
            log.error("%s: %s; is tried again", self._label(key), text, exc_info=error)

    def _done(self, key: str, after: Optional[float]) -> None:
        with self._cond:
            self._busy.pop(key, None)
            now = self._progress = self._clock.now()
            if key in self._again:
                self._again.discard(key)
                after = 0.0
            if after is not None:
                due = now + after
                self._schedule(key, min(due, self._due.get(key, due)))
            if key in self._due:
                heapq.heappush(self._heap, (self._due[key], key))
                self._cond.notify()

    def run_now(self, key: str) -> None:
        """Run the step of ``key`` in this thread, unless another runs it now."""
        with self._cond:
            if key in self._busy:
                return
            self._due.pop(key, None)
            self._busy[key] = self._clock.now()
        self._run(key)

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

    def vitals(self) -> Vitals:
        """Return how the loop is.

        It is stuck when a thread has ended, when a step takes longer than its limit, or when something has been due
        for ``LIMIT_S`` seconds in which no step has come to an end: then all threads hang, however patient steps are.
        """
        with self._cond:
            now, alive = self._clock.now(), sum(thread.is_alive() for thread in self._threads)
            waits = [now - due for key, due in self._due.items() if key not in self._busy]
            overdue = {key: now - self._busy[key] for key in self._limits_s if key in self._busy}
            late, longest, idle = sum(wait > LATE_S for wait in waits), max(waits, default=0.0), now - self._progress
            errors, ended = self._errors, 0 if self._stopping else len(self._threads) - alive
        hanging = [key for key, seconds in overdue.items() if seconds > self._limits_s[key]]
        stuck = ""
        if ended:
            stuck = f"has lost {ended} of its threads"
        elif hanging:
            stuck = f"has been stuck for {overdue[hanging[0]]:.0f} s in {self._label(hanging[0])}"
        elif min(longest, idle) > LIMIT_S:
            stuck = f"has done nothing for {idle:.0f} s although {late} are due"
        return Vitals(stuck, alive, errors, late)

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
            try:
                self._run(key)
            except BaseException:  # no step ends a thread, not even by SystemExit
                log.exception("%s: is tried again", key)

    def stop(self, timeout_s: float = 10.0) -> None:
        """Let running steps end, start no more; return after ``timeout_s`` seconds at the latest."""
        with self._cond:
            self._stopping = True
            self._cond.notify_all()
        for thread in self._threads:
            thread.join(timeout_s)
