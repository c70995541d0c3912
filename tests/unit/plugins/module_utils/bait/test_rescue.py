# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs in the hands of a bait that is no more."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.bait.bait_fixture import TAG, Site
from wnodes.bait.rescue import SILENT_S
from wnodes.directory.base import Heartbeat
from wnodes.lrms.base import HostState, LrmsJobState
from wnodes.lrms.fake import FakeHost
from wnodes.model.job import Hold
from wnodes.model.mark import Mark
from wnodes.model.states import JobState

UNDO = {"Partition": "main,long", "ReqNodeList": "", "ReservationName": "course", "Requeue": "0"}


def stray(site: Site, bait: str, **undo: str) -> str:
    """Return a job that a bait has tied to a VM."""
    number = site.lrms.submit(tag=TAG)
    tied = {"Partition": "wnvm", "ReqNodeList": "vwn-9", "ReservationName": "wn_vwn-9", "Requeue": "1"}
    mark = str(Mark("f" * 12, bait, 2, stops=3, undo=undo or UNDO))
    fixed = {**site.lrms.table[number].fixed, **tied}
    site.lrms.change(number, state=LrmsJobState.HELD, hold=Hold.ADMINISTRATOR, mark=mark, fixed=fixed)
    return number


def look(site: Site, times: int = 2) -> None:
    for _ in range(times):
        site.bait.rescue.look()
    site.run(5)


def beats(site: Site, **ages: float) -> None:
    now = site.clock.now()
    site.directory.heard[:] = [Heartbeat("bait", host, now - age, {}) for host, age in ages.items()]


def test_a_node_that_was_installed_anew_brings_its_jobs_back_as_they_were() -> None:
    site = Site()
    number = stray(site, "hv1")
    look(site)
    job = site.lrms.table[number]
    assert (job.state, site.job(number).outcome) == (LrmsJobState.PENDING, JobState.RETURNED)
    assert {key: job.fixed[key] for key in UNDO} == UNDO
    assert site.lrms.delays[number] >= site.lrms.quarantine - 5
    mark = Mark.parse(job.mark)
    assert mark is not None and (mark.undo, mark.attempt, mark.stops) == ({}, 2, 3)


def test_a_job_that_was_nobodys_once_only_is_left_alone() -> None:
    site = Site()
    number = stray(site, "hv1")
    look(site, times=1)
    assert site.lrms.table[number].state is LrmsJobState.HELD


def test_jobs_that_are_looked_after_are_left_alone() -> None:
    site = Site()
    site.hypervisor.auto_ready = False
    number, _ = site.dispatch()
    site.run(3)
    look(site)
    assert site.job(number).state is JobState.VM_REQUESTED


@pytest.mark.parametrize(
    ("ages", "host", "brought_back"),
    [
        ({"hv1": 1, "hv2": SILENT_S + 10}, HostState.DOWN, True),
        ({"hv1": 1}, None, True),
        ({"hv1": 1, "hv2": SILENT_S + 10}, HostState.BUSY, False),
        ({"hv1": 1, "hv2": 10}, HostState.DOWN, False),
        ({"hv0": 1, "hv1": 1, "hv2": SILENT_S + 10}, HostState.DOWN, False),
    ],
    ids=["dead", "never heard of", "its node is there", "it is there", "another is to do it"],
)
def test_the_first_bait_that_is_alive_brings_back_jobs_of_dead_ones(
    ages: dict[str, float], host: HostState | None, brought_back: bool
) -> None:
    site = Site()
    number = stray(site, "hv2")
    beats(site, **ages)
    if host is not None:
        site.lrms.hosts["hv2"] = FakeHost(host)
    look(site)
    assert (site.lrms.table[number].state is LrmsJobState.PENDING) is brought_back
