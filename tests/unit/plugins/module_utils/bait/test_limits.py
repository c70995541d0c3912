# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of the batch system are no failures, and cost no VM."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.bait.bait_fixture import TAG, Site, nothing_left
from wnodes.lrms.base import LrmsJobState
from wnodes.model.states import JobState, VmState


@pytest.fixture
def site() -> Site:
    return Site()


def up(site: Site) -> int:
    return sum(vm.state is not VmState.GONE for vm in site.hypervisor.vms.values())


def running(site: Site, numbers: list[str]) -> list[str]:
    return [number for number in numbers if site.lrms.table[number].state is LrmsJobState.RUNNING]


def test_tasks_over_the_limit_of_their_array_wait_without_a_vm_and_run_one_after_the_other(site: Site) -> None:
    tasks = site.lrms.submit_array(4, throttle=1, tag=TAG)
    for task in tasks:  # as each one is stopped the next one is sent
        answer = site.bait.dispatch(site.lrms.dispatch(task))
        assert answer is not None and answer.action == "stopped"
    for count in range(1, 5):
        site.run(300)
        assert (len(running(site, tasks)), up(site)) == (1, 1)
        for task in running(site, tasks):
            site.lrms.finish(task)
        site.run(10)
        ended = [task for task in tasks if site.lrms.table[task].state is LrmsJobState.ENDED]
        assert len(ended) == count
    assert {site.job(task).attempt for task in tasks} == {1}
    assert {site.job(task).outcome for task in tasks} == {JobState.FINISHED}
    nothing_left(site)


def test_a_job_that_waits_says_for_which_limit(site: Site) -> None:
    first, second = site.lrms.submit_array(2, throttle=1, tag=TAG)
    for task in (first, second):
        site.bait.dispatch(site.lrms.dispatch(task))
    site.run(10)
    told = {job["lrms_id"]: job["waits_for"] for job in site.bait.jobs()}
    assert "(JobArrayTaskLimit)" in told[second]


def test_a_job_that_waits_for_a_licence_keeps_its_vm_and_loses_no_attempt(site: Site) -> None:
    number = site.lrms.submit(tag=TAG)
    site.lrms.limits[number] = "Licenses"
    site.bait.dispatch(site.lrms.dispatch(number))
    site.run(site.config.join_timeout_s * 2)
    assert (site.job(number).state, site.job(number).limit, up(site)) == (JobState.MIGRATING, "Licenses", 1)
    del site.lrms.limits[number]
    site.lrms.start(number)
    site.run(5)
    assert (site.job(number).state, site.job(number).limit) == (JobState.RUNNING, "")


def test_after_a_long_time_its_vm_is_taken_away_and_it_waits_in_the_queue_as_it_did(site: Site) -> None:
    number = site.lrms.submit(tag=TAG)
    site.lrms.limits[number] = "QOSMaxJobsPerUserLimit"
    site.bait.dispatch(site.lrms.dispatch(number))
    site.run(site.config.limit_timeout_s + 30)
    job = site.job(number)
    assert (job.outcome, job.failed, job.reason) == (JobState.RETURNED, False, "it waits for QOSMaxJobsPerUserLimit")
    assert site.bait.status()["problems"] == []
    nothing_left(site)


def test_others_of_its_kind_get_no_vm_meanwhile_and_those_of_other_kinds_do(site: Site) -> None:
    first = site.lrms.submit(tag=TAG)
    site.lrms.limits[first] = "AssocGrpCpuLimit"
    site.bait.dispatch(site.lrms.dispatch(first))
    site.run(20)
    same, _ = site.dispatch()
    other, _ = site.dispatch(user="bob")
    site.run(20)
    assert (site.job(same).state, site.job(other).state, up(site)) == (JobState.HELD, JobState.RUNNING, 2)
    del site.lrms.limits[first]
    site.lrms.start(first)
    site.run(20)
    assert {site.job(number).state for number in (first, same, other)} == {JobState.RUNNING}


def test_what_no_vm_can_be_is_refused_with_the_word_of_the_batch_system(site: Site) -> None:
    number = site.lrms.submit(tag=TAG)
    site.lrms.limits[number] = "BadConstraints"
    site.bait.dispatch(site.lrms.dispatch(number))
    site.run(20)
    job = site.job(number)
    assert (job.outcome, job.reason) == (JobState.REFUSED, "no VM for it is what it asks for (BadConstraints)")
    nothing_left(site)


def test_a_job_that_starts_too_late_tells_what_its_batch_system_says(site: Site) -> None:
    number = site.lrms.submit(tag=TAG)
    site.lrms.limits[number] = "Priority?"
    site.bait.dispatch(site.lrms.dispatch(number))
    site.run(5)
    site.lrms.change(number, limited=False, reason="ReqNodeNotAvail")
    site.run(site.config.join_timeout_s + 30)
    assert "(ReqNodeNotAvail)" in site.job(number).reason


def test_a_vm_is_not_late_in_joining_a_batch_system_that_was_silent(site: Site) -> None:
    site.hypervisor.auto_ready = False
    number, _ = site.dispatch()
    site.run(3)
    site.lrms.fail_next("host", 10_000)
    site.hypervisor.put(site.job(number).id, VmState.READY)
    site.run(site.config.join_timeout_s * 2)
    assert site.job(number).state is JobState.VM_READY
    site.lrms.fail_next("host", 0)
    site.run(40)
    assert site.job(number).state is JobState.RUNNING


def test_time_in_which_the_batch_system_was_silent_makes_nothing_late(site: Site) -> None:
    number = site.lrms.submit(tag=TAG)
    site.lrms.limits[number] = "Priority?"
    site.bait.dispatch(site.lrms.dispatch(number))
    site.run(5)
    site.lrms.change(number, limited=False, reason="")
    site.lrms.down = True
    site.run(site.config.join_timeout_s * 3)
    site.lrms.down = False
    site.run(site.config.join_timeout_s / 2)
    assert site.job(number).state is JobState.MIGRATING
