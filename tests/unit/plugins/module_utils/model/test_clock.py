# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No step of the machine's clock moves an interval, and no limit runs out because of what another clock said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wnodes.model.clock import Clock, FakeClock

HOURS = st.floats(-1e5, 1e5)


def test_the_real_clock_begins_with_the_machines() -> None:
    clock = Clock(lambda: 5000.0, lambda: 7.0)
    assert (clock.now(), clock.wall(), clock.started) == (5000.0, 5000.0, 5000.0)


@given(st.lists(st.tuples(HOURS, st.floats(0, 1e5))))
def test_now_goes_on_by_what_has_passed_whatever_the_machines_clock_is_set_to(steps: list[tuple[float, float]]) -> None:
    clock = FakeClock()
    for step, passed in steps:
        before, wall = clock.now(), clock.wall()
        clock.step(step)
        clock.advance(passed)
        assert abs(clock.now() - before - passed) < 1e-3
        assert abs(clock.wall() - wall - step - passed) < 1e-3


@given(st.integers(-1_000_000, 1_000_000), st.integers(0, 1_000_000))
def test_what_another_clock_noted_before_the_start_counts_from_the_start(offset: int, passed: int) -> None:
    clock = FakeClock()
    noted = clock.now() + offset
    clock.advance(passed)
    assert 0 <= clock.since(noted) <= passed


def test_what_was_noted_since_the_start_is_as_old_as_it_is() -> None:
    clock = FakeClock()
    clock.advance(5)
    noted = clock.now()
    clock.step(-7200)
    clock.advance(3)
    assert clock.since(noted) == 3


def test_a_busy_machine_may_take_longer() -> None:
    clock = FakeClock()
    begun = clock.now()
    clock.advance(15)
    assert clock.is_late(begun, 10)
    clock.stretched = 2.0
    assert not clock.is_late(begun, 10)
    clock.advance(6)
    assert clock.is_late(begun, 10)
