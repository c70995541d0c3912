# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How old a word of the batch system may be, and when it is asked."""

from __future__ import annotations

import pytest

from wnodes.bait.sightings import Sightings
from wnodes.lrms.base import LrmsJobState
from wnodes.lrms.fake import FakeLrms
from wnodes.model.clock import FakeClock

HELD, RUNNING = LrmsJobState.HELD, LrmsJobState.RUNNING


class Site:
    def __init__(self) -> None:
        self.lrms, self.clock = FakeLrms(), FakeClock()
        self.sightings = Sightings(self.lrms, self.clock, 2.0)
        self.number = self.lrms.submit()
        self.set(HELD)

    def set(self, state: LrmsJobState) -> None:
        self.lrms.change(self.number, state=state)

    def last(self) -> LrmsJobState | None:
        job = self.sightings.last(self.number)
        return job.state if job else None


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_reading_is_good_for_a_while_and_then_read_again(site: Site) -> None:
    assert site.last() is HELD
    site.set(RUNNING)
    site.clock.advance(2.0)
    assert (site.last(), site.lrms.calls) == (HELD, ["job"])
    site.clock.advance(0.1)
    assert (site.last(), site.lrms.calls) == (RUNNING, ["job", "job"])


def test_what_is_read_afresh_is_good_from_then_on(site: Site) -> None:
    site.last()
    site.set(RUNNING)
    fresh = site.sightings.fresh(site.number)
    assert fresh is not None and fresh.state is RUNNING
    assert site.last() is RUNNING
    assert site.lrms.calls == ["job", "job"]


def test_a_job_on_the_move_is_always_asked_for(site: Site) -> None:
    site.set(LrmsJobState.COMPLETING)
    for _ in range(3):
        site.last()
    assert site.lrms.calls == ["job"] * 3


def test_what_is_forgotten_is_asked_for_again(site: Site) -> None:
    site.last()
    site.set(RUNNING)
    site.sightings.forget(site.number)
    assert site.sightings.known(site.number) is None
    assert site.last() is RUNNING


def test_a_job_the_batch_system_forgot_is_forgotten(site: Site) -> None:
    site.last()
    del site.lrms.table[site.number]
    assert site.sightings.fresh(site.number) is None
    assert site.sightings.known(site.number) is None


def test_several_are_asked_for_in_one_call_and_those_not_found_forgotten(site: Site) -> None:
    other = site.lrms.submit()
    site.sightings.all((site.number, other))
    del site.lrms.table[other]
    assert set(site.sightings.all((site.number, other))) == {site.number}
    assert site.lrms.calls == ["jobs", "jobs"]
    assert site.sightings.known(other) is None
    assert site.last() is HELD
    assert site.lrms.calls == ["jobs", "jobs"]


def test_only_jobs_of_which_something_else_is_said_have_changed(site: Site) -> None:
    other = site.lrms.submit()
    both = (site.number, other)
    assert site.sightings.changed(both) == both
    assert site.sightings.changed(both) == ()
    site.set(RUNNING)
    assert site.sightings.changed(both) == (site.number,)
    del site.lrms.table[other]
    assert site.sightings.changed(both) == (other,)
    assert site.sightings.changed(both) == ()
    site.clock.advance(100)
    known = site.sightings.known(site.number)
    assert known is not None and known.state is RUNNING
