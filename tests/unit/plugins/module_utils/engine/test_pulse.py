# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each loop that ends or hangs is named, and none that goes on."""

from __future__ import annotations

import threading

from wnodes.engine.pulse import Pulse, Vitals
from wnodes.model.clock import FakeClock


def test_a_loop_is_stuck_when_it_has_not_beaten_for_longer_than_its_limit() -> None:
    clock = FakeClock()
    pulse = Pulse(clock.now)
    poll, beat = pulse.loop("poll", 60), pulse.loop("heartbeat", 600)
    poll.beat()
    beat.beat()
    clock.advance(61)
    assert pulse.problems() == ("loop poll has been stuck for 61 s",)
    poll.beat()
    assert pulse.problems() == ()


def test_a_loop_that_never_began_is_stuck() -> None:
    clock = FakeClock()
    pulse = Pulse(clock.now)
    pulse.loop("poll", 60)
    clock.advance(61)
    assert pulse.problems() == ("loop poll has been stuck for 61 s",)


def test_a_loop_whose_thread_has_ended_is_told_at_once() -> None:
    pulse = Pulse(FakeClock().now)
    thread = threading.Thread(target=pulse.loop("events").beat)
    thread.start()
    thread.join(5)
    assert pulse.problems() == ("loop events has ended",)
    assert pulse.vitals()["events"].threads == 0


def test_failed_rounds_are_counted_and_are_no_sign_of_death() -> None:
    pulse = Pulse(FakeClock().now)
    loop = pulse.loop("poll")
    loop.beat()
    loop.failed()
    assert pulse.vitals() == {"poll": Vitals("", 1, 1)}


def test_what_tells_by_itself_how_it_is_is_asked() -> None:
    pulse = Pulse()
    pulse.watch("job", lambda: Vitals("has lost 1 of its threads"))
    assert pulse.problems() == ("loop job has lost 1 of its threads",)
