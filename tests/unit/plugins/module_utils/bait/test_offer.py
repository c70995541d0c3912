# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs offered to the batch system: on the books, one job each, gone when jobs need the room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.module_utils.bait.bait_fixture import TAG, Killed, Site, flavour, killed, nothing_left, pooled
from wnodes.bait.offer import ROOM_S
from wnodes.lrms.base import HostState, LrmsJobState
from wnodes.model.states import JobState, VmState
from wnodes_services.rules import parse


def offered(path: str = ":memory:", rules: str = "") -> Site:
    return pooled(flavour(1), path=path, rules=parse(rules, "r"), offer=True)


def sent(site: Site, **submit: Any) -> str:
    """Let the batch system start a job on the VM that is offered; return its id."""
    (vm,) = site.pool()
    number = site.lrms.submit(**{"tag": TAG, **submit})
    site.lrms.change(number, state=LrmsJobState.RUNNING, host=vm.host)
    site.lrms.hosts[vm.host].state = HostState.BUSY
    site.bait.pool.wake(vm.id)
    return number


def test_an_offered_vm_knows_all_users_and_is_held_on_the_books() -> None:
    site = offered()
    (vm,) = site.waiting()
    assert site.lrms.offers == {vm.id: vm.placeholder}
    assert site.lrms.holders == {}
    (setup,) = site.hypervisor.setups[vm.id]
    assert "everybody" in {file.content for file in setup.files}


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


def test_an_offer_that_the_batch_system_ends_for_a_job_is_withdrawn() -> None:
    site = offered()
    (vm,) = site.waiting()
    site.lrms.drained = True
    site.lrms.offers.clear()
    site.bait.pool.wake(vm.id)
    site.run(1)
    assert site.hypervisor.vms[vm.id].state is VmState.GONE
    nothing_left(site)


def test_a_job_that_comes_while_the_vm_is_withdrawn_keeps_it() -> None:
    site = offered()
    close, numbers = site.lrms.close_host, []

    def too_late(name: str) -> None:
        if not numbers:
            numbers.append(sent(site))
        close(name)

    site.lrms.close_host = too_late  # type: ignore[method-assign]
    site.lrms.drained = True
    site.run(10)
    assert site.job(numbers[0]).state is JobState.RUNNING
    assert site.hypervisor.vms[site.job(numbers[0]).vm].state is VmState.IN_USE


def test_no_vm_is_offered_for_which_there_is_no_room() -> None:
    site = Site(pool=pooled(flavour(1), offer=True).config.pool)
    site.lrms.jobs = lambda job_ids: {}  # type: ignore[method-assign]
    site.run(ROOM_S + 5)
    assert site.waiting() == []
    assert {vm.reason for vm in site.bait.pool._journal.all() if vm.state.value == "GONE"} == {"jobs need its room"}


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
