# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that the LRMS has sent straight to an offered VM."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.bait.bait_fixture import TAG, Killed, killed, nothing_left
from tests.unit.plugins.module_utils.bait.offer_fixture import offered, sent
from wnodes.lrms.base import LrmsJobState
from wnodes.model.states import JobState, VmState


def test_a_job_sent_straight_there_has_the_vm_alone_and_its_share_for_good() -> None:
    site = offered()
    (vm,) = site.waiting()
    number = sent(site)
    site.run(1)
    job = site.job(number)
    assert (job.state, job.path, job.host) == (JobState.RUNNING, "direct", vm.host)
    assert site.hypervisor.vms[vm.id].request.owner == "alice"
    assert "close_host" in site.lrms.calls
    assert (site.lrms.offers, set(site.lrms.holders)) == ({}, {vm.id})
    site.lrms.finish(number, 3)
    site.run(20)
    job = site.job(number)
    assert (job.outcome, job.exit_code) == (JobState.FINISHED, 3)
    assert site.hypervisor.vms[vm.id].state is VmState.GONE
    assert {vm.state.value for vm in site.pool()} == {"WAITING"}


def test_the_second_of_two_jobs_sent_at_once_goes_back_and_on() -> None:
    site = offered()
    first, second = sent(site), site.lrms.submit(tag=TAG)
    site.lrms.change(second, state=LrmsJobState.RUNNING, host=site.lrms.table[first].host)
    site.run(10)
    assert site.job(first).state is JobState.RUNNING
    assert (site.job(second).outcome, site.lrms.table[second].state) == (JobState.RETURNED, LrmsJobState.PENDING)
    assert site.lrms.delays[second] == 0.0


def test_killed_before_the_second_of_two_jobs_was_stopped_it_goes_back_after_the_restart(tmp_path: Path) -> None:
    site = offered(str(tmp_path / "bait.db"))
    site.failpoints.set("bait.send_back", killed)
    first, second = sent(site), site.lrms.submit(tag=TAG)
    site.lrms.change(second, state=LrmsJobState.RUNNING, host=site.lrms.table[first].host)
    with pytest.raises(Killed):
        site.run(10)
    site.restart()
    site.run(10)
    assert site.job(first).state is JobState.RUNNING
    assert (site.job(second).outcome, site.lrms.table[second].state) == (JobState.RETURNED, LrmsJobState.PENDING)


def test_a_job_that_may_not_use_the_image_is_held_with_the_reason() -> None:
    site = offered()
    site.hypervisor.unwelcome = ("mallory",)
    number = sent(site, user="mallory")
    site.run(20)
    assert site.job(number).outcome is JobState.REFUSED
    assert site.lrms.table[number].state is LrmsJobState.HELD
    assert "may not use this image" in site.lrms.table[number].mark


def test_a_job_that_a_site_rule_refuses_is_held_with_the_reason_and_its_vm_goes() -> None:
    site = offered(rules="- match: {users: [bob]}\n  image: {allowed: []}\n")
    (vm,) = site.pool()
    number = sent(site, user="bob")
    site.run(20)
    assert site.job(number).outcome is JobState.REFUSED
    assert "is not for bob in partition main (r:2)" in site.lrms.table[number].mark
    assert site.hypervisor.vms[vm.id].state is VmState.GONE


def test_a_job_that_names_several_images_is_judged_by_the_one_it_got() -> None:
    site = offered(rules="- image: {allowed: ['mine_*']}\n")
    number = sent(site, tag="mine_a_b|vm_" + TAG)
    site.run(20)
    assert site.job(number).outcome is JobState.REFUSED
    assert f"image ({TAG}): is not for alice" in site.lrms.table[number].mark


def test_a_job_that_names_no_image_is_not_judged_by_rules_about_virtual_jobs() -> None:
    site = offered(rules="- image: {allowed: []}\n")
    number = sent(site, tag="")
    site.run(1)
    assert site.job(number).state is JobState.RUNNING


@pytest.mark.parametrize("point", ["bait.keep", "bait.remove_host", "bait.unplace"])
def test_killed_while_a_sent_job_settles_in_or_goes_it_converges(tmp_path: Path, point: str) -> None:
    site = offered(str(tmp_path / "bait.db"))
    site.failpoints.set(point, killed)
    number = sent(site)

    def live() -> None:
        site.run(1)
        site.lrms.finish(number)
        site.run(10)

    with pytest.raises(Killed):
        live()
    site.restart()
    site.run(5)
    if site.lrms.table[number].state is LrmsJobState.RUNNING:
        site.lrms.finish(number)
    site.lrms.drained = True
    site.run(30)
    assert site.job(number).outcome is JobState.FINISHED
    nothing_left(site)


def test_a_second_job_that_must_not_run_twice_stays_and_the_vm_waits_for_both() -> None:
    site = offered()
    first, second = sent(site), site.lrms.submit(tag=TAG)
    job = site.lrms.table[second]
    host = site.lrms.table[first].host
    site.lrms.change(second, state=LrmsJobState.RUNNING, host=host, fixed={**job.fixed, "Requeue": "0"})
    site.run(10)
    assert site.lrms.table[second].state is LrmsJobState.RUNNING
    site.lrms.finish(first)
    site.run(10)
    assert host in site.lrms.hosts
    site.lrms.finish(second)
    site.run(60)
    assert site.job(first).outcome is JobState.FINISHED
    assert host not in site.lrms.hosts
