# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop: due steps, retries, and never two steps of one key at once."""

from __future__ import annotations

import threading

from wnodes.engine.reconciler import Reconciler
from wnodes.model.clock import Clock, FakeClock
from wnodes.model.errors import UnavailableError


def test_a_step_is_called_when_it_is_due_and_again_when_it_asked() -> None:
    clock, calls = FakeClock(), []

    def step(key: str) -> float | None:
        calls.append((key, clock.now()))
        return 5.0 if len(calls) < 2 else None

    loop = Reconciler(step, clock, lambda _key, _error: None)
    start = clock.now()
    loop.wake("a", 2.0)
    assert loop.run_due() == 0
    clock.advance(2)
    loop.run_due()
    clock.advance(5)
    loop.run_due()
    assert calls == [("a", start + 2), ("a", start + 7)]
    assert loop.next_due() is None


def test_an_earlier_wake_wins() -> None:
    clock, calls = FakeClock(), []
    loop = Reconciler(lambda key: calls.append(key), clock, lambda _key, _error: None)  # type: ignore[func-returns-value]
    loop.wake("a", 60)
    loop.wake("a")
    assert loop.run_due() == 1
    assert loop.next_due() is None


def test_errors_are_told_and_tried_again_with_growing_pauses() -> None:
    clock, errors = FakeClock(), []

    def step(_key: str) -> float | None:
        raise UnavailableError(object="x", reason="down")

    loop = Reconciler(step, clock, lambda key, error: errors.append((key, clock.now())), retry_s=(1, 3))
    start = clock.now()
    loop.wake("a")
    for _ in range(8):
        loop.run_due()
        clock.advance(1)
    assert [at - start for _key, at in errors] == [0, 1, 3, 6]


def test_a_key_is_never_stepped_twice_at_once_and_no_wake_is_lost() -> None:
    inside, most, calls = 0, 0, 0
    entered, go_on, done = threading.Event(), threading.Event(), threading.Event()
    lock = threading.Lock()

    def step(_key: str) -> float | None:
        nonlocal inside, most, calls
        with lock:
            inside += 1
            most = max(most, inside)
            calls += 1
        entered.set()
        go_on.wait(5)
        with lock:
            inside -= 1
            if calls == 2:
                done.set()

    loop = Reconciler(step, Clock(), lambda _key, _error: None)
    loop.start(3, "test")
    loop.wake("a")
    assert entered.wait(5)
    loop.wake("a")
    loop.wake("a")
    go_on.set()
    assert done.wait(5)
    loop.stop()
    assert (most, calls) == (1, 2)
