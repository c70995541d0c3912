# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop: due steps, retries, and never two steps of one key at once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from wnodes.engine.pulse import LIMIT_S
from wnodes.engine.reconciler import LATE_S, REMIND_S, Reconciler
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


def quiet(_key: str, _error: Exception) -> None:
    pass


def down(_key: str) -> float | None:
    raise UnavailableError(object="nameserver", reason="does not answer")


def test_after_any_number_of_failures_it_goes_on() -> None:
    """A nameserver that is away for a night fails more than 1,024 steps in a row: 2.0 ** 1024 is no float."""
    clock, well, done = FakeClock(), False, []

    def step(key: str) -> float | None:
        return done.append(key) if well else down(key)  # type: ignore[func-returns-value]

    loop = Reconciler(step, clock, quiet, retry_s=(0.5, 15.0))
    loop.wake("a")
    for _ in range(1100):
        loop.run_due()
        clock.advance(15)
    well = True
    loop.run_due()
    assert done == ["a"]


@pytest.mark.parametrize("raised", [OSError("disk is full"), RuntimeError("bug"), SystemExit(3), GeneratorExit()])
def test_threads_and_keys_outlive_whatever_a_step_and_its_callback_raise(raised: BaseException) -> None:
    well, done, keys = threading.Event(), set(), [f"job{number}" for number in range(8)]
    failures, enough, all_done = 0, threading.Event(), threading.Event()

    def fail() -> None:
        nonlocal failures
        if not well.is_set():
            failures += 1
            if failures > 32:
                enough.set()
            raise raised

    def step(key: str) -> float | None:
        fail()
        done.add(key)
        if len(done) == len(keys):
            all_done.set()
        return None

    loop = Reconciler(step, Clock(), lambda _key, _error: fail(), retry_s=(0.001, 0.01))
    for key in keys:
        loop.wake(key)
    loop.start(3, "test")
    assert enough.wait(5)
    assert loop.vitals().threads == 3
    well.set()
    assert all_done.wait(5)
    assert loop.vitals().stuck == ""
    loop.stop()


def test_an_error_is_logged_once_until_it_changes_or_for_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    clock, reason = FakeClock(), "does not answer"

    def step(_key: str) -> float | None:
        raise UnavailableError(object="slurmctld", reason=reason)

    def failed(_key: str, _error: Exception) -> None:
        raise OSError("disk is full")

    loop = Reconciler(step, clock, failed, retry_s=(1, 1), label=lambda key: f"job={key}")

    def said(seconds: int) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            for _ in range(seconds):
                loop.run_due()
                clock.advance(1)
        return [record.getMessage() for record in caplog.records]

    loop.wake("7")
    first, second = said(100)
    assert first == "job=7: slurmctld: does not answer; is tried again"
    assert "disk is full" in second
    reason = "refuses"
    assert said(100) == ["job=7: slurmctld: refuses; is tried again"]
    assert len(said(int(REMIND_S))) == 2
    assert loop.vitals().errors == 200 + REMIND_S


def test_an_error_that_comes_again_after_all_was_well_is_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    clock, answers = FakeClock(), [False, True, False]
    loop = Reconciler(lambda key: 1.0 if answers.pop(0) else down(key), clock, quiet)
    loop.wake("a")
    with caplog.at_level(logging.WARNING):
        while answers:
            loop.run_due()
            clock.advance(1)
    assert len(caplog.records) == 2


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_step_of_the_machines_clock_moves_no_step_of_ours(hours: int) -> None:
    clock, calls = FakeClock(), []
    loop = Reconciler(lambda key: calls.append(key), clock, quiet)  # type: ignore[func-returns-value]
    loop.wake("a", 60)
    clock.step(hours * 3600)
    clock.advance(59)
    assert loop.run_due() == 0
    clock.advance(1)
    assert loop.run_due() == 1


def test_run_now_treats_errors_as_any_step_does() -> None:
    clock, told = FakeClock(), []
    loop = Reconciler(down, clock, lambda key, _error: told.append(key))
    loop.wake("a")
    loop.run_now("a")
    assert told == ["a"]
    assert loop.next_due() == clock.now() + 0.5


class Held:
    """A loop whose steps hang until they are let go."""

    def __init__(self, workers: int, limits_s: dict[str, float] | None = None) -> None:
        self.clock, self.go_on, self.entered = FakeClock(), threading.Event(), threading.Semaphore(0)
        self.loop = Reconciler(self.step, self.clock, quiet, limits_s=limits_s)
        self.loop.start(workers, "held")

    def step(self, key: str) -> float | None:
        if key.startswith("hang"):
            self.entered.release()
            assert self.go_on.wait(5)
        return None

    def hang(self, *keys: str) -> None:
        for key in keys:
            self.loop.wake(key)
        for _ in keys:
            assert self.entered.acquire(timeout=5)

    def end(self) -> None:
        self.go_on.set()
        self.loop.stop()


@pytest.fixture
def held() -> Iterator[Callable[..., Held]]:
    made: list[Held] = []

    def make(workers: int, limits_s: dict[str, float] | None = None) -> Held:
        made.append(Held(workers, limits_s))
        return made[-1]

    yield make
    for one in made:
        one.end()


def test_one_step_that_takes_long_is_no_sign_of_death(held: Callable[..., Held]) -> None:
    one = held(2)
    one.hang("hang")
    one.clock.advance(10 * LIMIT_S)
    assert one.loop.vitals().stuck == ""


def test_a_loop_is_stuck_when_keys_are_due_and_no_step_ends(held: Callable[..., Held]) -> None:
    one = held(2)
    one.hang("hang1", "hang2")
    one.loop.wake("due")
    one.clock.advance(LATE_S + 1)
    assert (one.loop.vitals().stuck, one.loop.vitals().late) == ("", 1)
    one.clock.advance(LIMIT_S)
    assert one.loop.vitals().stuck == "has done nothing for 331 s although 1 are due"


def test_a_step_with_a_limit_is_stuck_beyond_it(held: Callable[..., Held]) -> None:
    one = held(2, {"hang": 60.0})
    one.hang("hang")
    one.clock.advance(59)
    assert one.loop.vitals().stuck == ""
    one.clock.advance(2)
    assert one.loop.vitals().stuck == "has been stuck for 61 s in hang"


def test_nothing_to_do_for_a_long_time_is_well(held: Callable[..., Held]) -> None:
    one = held(2)
    one.clock.advance(10 * LIMIT_S)
    one.loop.wake("later", 60)
    assert one.loop.vitals().stuck == ""


def test_a_thread_that_has_ended_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reconciler, "_work", lambda self: None)
    loop = Reconciler(lambda _key: None, Clock(), quiet)
    loop.start(2, "gone")
    for thread in loop._threads:
        thread.join(5)
    assert loop.vitals().stuck == "has lost 2 of its threads"
