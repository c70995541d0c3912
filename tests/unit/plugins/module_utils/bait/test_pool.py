# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs that wait for jobs: how many there are, who gets one, when they go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.bait.bait_fixture import (
    TAG,
    Site,
    flavour,
    nothing_left,
    one_owner_each,
    only_the_pool_left,
    pooled,
    within_the_free_room,
)
from wnodes.bait.config import PoolConfig, PoolFlavour
from wnodes.lrms.base import HostState
from wnodes.model.errors import VirtError
from wnodes.model.resources import Resources
from wnodes.model.states import JobState, PoolState, VmState
from wnodes.model.vm import GuestSetup, VmUser


def reasons(site: Site) -> set[str]:
    return {vm.reason for vm in site.bait.pool._journal.all() if vm.reason}


# how many there are


def test_as_many_as_are_wanted_wait_complete_and_off_the_books() -> None:
    site = pooled(flavour(2), flavour(1, 1024, 2))
    assert sorted(vm.request.resources.memory_mib for vm in site.waiting()) == [512, 512, 1024]
    assert {host.state for host in site.lrms.hosts.values()} == {HostState.READY}
    assert {host.user for host in site.lrms.hosts.values()} == {"root"}
    assert sorted(site.lrms.rehearsals) == sorted(site.lrms.hosts)
    assert site.lrms.room().free == Resources(8, 8000)
    only_the_pool_left(site)


@pytest.mark.parametrize(
    ("kind", "count"), [(flavour(20), 8), (flavour(20, memory_mib=2048), 3), (flavour(20, 1, cpus=3), 2)]
)
def test_no_more_wait_than_the_node_has_memory_and_cpus_for(kind: PoolFlavour, count: int) -> None:
    site = pooled(kind)
    assert len(site.waiting()) == count
    within_the_free_room(site)


def test_a_node_that_jobs_fill_has_none_waiting_until_they_end() -> None:
    site = Site(pool=PoolConfig((flavour(2),)))
    site.lrms.taken = Resources(7, 1000)
    site.run(30)
    assert len(site.waiting()) == 1
    site.lrms.taken = Resources(0, 0)
    site.run(10)
    assert len(site.waiting()) == 2


def test_a_real_job_has_the_room_of_waiting_vms_at_once_and_those_nearest_to_ready_stay(tmp_path: Path) -> None:
    site = pooled(flavour(2), path=str(tmp_path / "bait.db"))
    site.hypervisor.auto_ready = False
    ready = {vm.id for vm in site.waiting()}
    site.config = replace(site.config, pool=PoolConfig((flavour(4),)))
    site.restart()
    site.run(10)
    assert len(site.pool(PoolState.COMING)) == 2
    site.real_job(6, 0)
    site.run(0.5)
    assert {vm.id for vm in site.pool()} == ready
    site.real_job(1, 0)
    site.run(0.5)
    assert len(site.pool()) == 1 and site.pool()[0].id in ready
    assert reasons(site) == {"jobs need its room"}
    site.hypervisor.auto_ready = True
    only_the_pool_left(site)


def test_a_node_that_a_real_job_needed_is_left_in_peace_for_a_while() -> None:
    site = pooled(flavour(8), calm_s=20.0)
    site.real_job(8, 0)
    site.run(1)
    nothing_left(site)
    site.lrms.taken = Resources(0, 0)
    site.run(18)
    assert site.pool() == []
    site.run(10)
    assert len(site.waiting()) == 8


def test_a_job_that_takes_a_vm_does_not_end_that_peace() -> None:
    site = pooled(flavour(3), calm_s=20.0)
    site.real_job(7, 0)
    site.run(1)
    assert len(site.waiting()) == 1
    site.lrms.taken = Resources(0, 0)
    site.dispatch()
    site.run(15)
    assert site.pool() == []
    site.run(10)
    assert len(site.waiting()) == 3


def test_a_drained_node_has_no_waiting_vms_until_it_is_open_again() -> None:
    site = pooled(flavour(2))
    site.lrms.drained = True
    site.run(10)
    nothing_left(site)
    assert reasons(site) == {"the node takes no jobs"}
    site.lrms.drained = False
    site.run(10)
    assert len(site.waiting()) == 2


def test_a_drained_node_keeps_no_vm_for_its_user_either() -> None:
    site = pooled(flavour(1), reuse_s=1000.0)
    number, _ = site.dispatch()
    site.run(5)
    site.lrms.finish(number)
    site.run(5)
    assert "alice" in {vm.user for vm in site.waiting()}
    site.lrms.drained = True
    site.run(10)
    assert site.pool() == []
    nothing_left(site)


@pytest.mark.parametrize("state", [PoolState.COMING, PoolState.JOINING])
def test_a_vm_on_its_way_leaves_a_node_that_is_drained(state: PoolState) -> None:
    site = Site(pool=PoolConfig((flavour(2),)))
    site.hypervisor.auto_ready = state is not PoolState.COMING
    site.lrms.guest_setup = lambda *_host: GuestSetup()  # type: ignore[method-assign]
    site.run(2)
    assert [vm.state for vm in site.pool()] == [state] * 2
    site.lrms.drained = True
    site.run(10)
    nothing_left(site)
    assert site.pool() == []


def test_a_pool_that_is_switched_off_is_emptied_at_the_next_start(tmp_path: Path) -> None:
    site = pooled(flavour(2), path=str(tmp_path / "bait.db"))
    site.config = replace(site.config, pool=PoolConfig())
    site.restart()
    site.run(10)
    nothing_left(site)
    site.lrms.calls.clear()
    site.run(30)
    assert "room" not in site.lrms.calls


def test_a_restart_keeps_the_vms_that_wait(tmp_path: Path) -> None:
    site = pooled(flavour(2), path=str(tmp_path / "bait.db"))
    before = site.waiting()
    site.restart()
    site.run(30)
    assert site.waiting() == before
    only_the_pool_left(site)


# what is learnt


def learning(**settings: object) -> Site:
    return pooled(run=1, **{"learn": 3, "learn_s": 1000.0, **settings})  # type: ignore[arg-type]


def test_what_jobs_asked_for_together_waits_for_the_next_ones() -> None:
    site = learning()
    for _ in range(2):
        site.dispatch(memory_mib=700)
    site.run(30)
    assert [vm.request.resources.memory_mib for vm in site.waiting()] == [700, 700]


def test_no_more_of_a_kind_are_learnt_than_the_site_allows() -> None:
    site = learning(learn=1)
    for _ in range(3):
        site.dispatch()
    site.run(30)
    assert len(site.waiting()) == 1


def test_jobs_that_came_further_apart_than_a_vm_takes_need_one_only() -> None:
    site = learning()
    for _ in range(3):
        site.dispatch()
        site.run(31)
    assert len(site.waiting()) == 1


def test_what_is_learnt_is_known_after_a_restart_and_forgotten_in_time(tmp_path: Path) -> None:
    site = pooled(path=str(tmp_path / "bait.db"), run=1, learn=3, learn_s=1000.0)
    for number, _ in [site.dispatch() for _ in range(2)]:
        site.run(2)
        site.lrms.finish(number)
    site.run(20)
    assert len(site.waiting()) == 2
    site.restart()
    site.run(900)
    assert len(site.waiting()) == 2
    site.run(150)
    assert site.pool() == []
    nothing_left(site)


def test_nothing_is_learnt_from_a_job_that_was_refused() -> None:
    site = learning()
    refused = [
        (site.lrms.submit(tag=TAG, nodes=2), ""),
        (site.lrms.submit(tag=TAG), "wnodes:colour=red"),
        (site.lrms.submit(tag=f"{TAG}&vm_x_y_z"), ""),
    ]
    for number, comment in refused:
        site.bait.dispatch(site.lrms.dispatch(number, comment))
    site.run(30)
    assert [site.job(number).outcome for number, _ in refused] == [JobState.REFUSED] * 3
    assert site.bait.pool._journal.all() == []
    assert site.bait.status()["problems"] == []


def test_a_kind_that_names_no_scratch_disk_has_that_of_a_job_that_names_none() -> None:
    site = Site(pool=PoolConfig((flavour(1),)), default_scratch_mib=2048)
    site.run(10)
    number, _ = site.dispatch()
    assert site.job(number).path == "pool"


# who gets one


def test_a_job_takes_a_vm_that_waits_and_none_is_made_for_it() -> None:
    site = pooled(flavour(1))
    (there,) = site.waiting()
    number, answer = site.dispatch()
    assert answer == "stopped"
    assert site.job(number).state is JobState.HELD
    site.run(1)
    job = site.job(number)
    assert [move.state for move in job.history] == ["RECEIVED", "HELD", "MIGRATING", "RUNNING"]
    assert (job.vm, job.host, job.path, job.placeholder) == (there.id, there.host, "pool", there.placeholder)
    vm = site.hypervisor.vms[there.id]
    assert (vm.state, vm.request.owner, vm.request.labels["job"]) == (VmState.IN_USE, "alice", number)
    assert len(site.hypervisor.vms) == 1
    site.run(10)
    assert len(site.waiting()) == 1
    site.lrms.finish(number)
    site.run(10)
    assert site.job(number).outcome is JobState.FINISHED
    only_the_pool_left(site)


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"memory_mib": 100}, "pool"),
        ({"memory_mib": 513}, ""),
        ({"cpus": 2}, ""),
        ({"tag": "other_debian12_x86_64"}, ""),
    ],
)
def test_only_a_vm_that_is_right_for_a_job_is_taken(asked: dict[str, object], path: str) -> None:
    site = pooled(flavour(1))
    number, _ = site.dispatch(**asked)
    site.run(5)
    assert site.job(number).state is JobState.RUNNING
    assert site.job(number).path == path
    assert bool(site.job(number).vm) == bool(path)


def test_the_smallest_vm_that_fits_is_taken_and_of_these_the_oldest() -> None:
    site = pooled(flavour(1, 2048))
    for flavours in ((flavour(1, 2048), flavour(1)), (flavour(1, 2048), flavour(2))):
        site.config = replace(site.config, pool=PoolConfig(flavours))
        site.restart()
        site.run(10)
    large, older, younger = sorted(site.waiting(), key=lambda vm: vm.born)
    took = [site.job(site.dispatch(memory_mib=mib)[0]).vm for mib in (300, 300, 300)]
    assert took == [older.id, younger.id, large.id]


def test_a_user_who_may_not_use_the_image_leaves_the_vm_to_others_and_goes_the_ordinary_way() -> None:
    site = pooled(flavour(1))
    site.hypervisor.unwelcome = ("mallory",)
    (there,) = site.waiting()
    number, answer = site.dispatch(user="mallory")
    assert answer == "stopped"
    assert site.job(number).placeholder not in ("", there.placeholder)
    assert (site.waiting()[0].id, site.waiting()[0].job) == (there.id, "")
    assert site.hypervisor.vms[there.id].state is VmState.READY
    other, _ = site.dispatch(user="alice")
    assert site.job(other).vm == there.id


def test_two_jobs_never_get_one_vm() -> None:
    site = pooled(flavour(1))
    site.watch = lambda: one_owner_each(site)
    first, _ = site.dispatch()
    second, _ = site.dispatch(user="bob")
    site.run(5)
    jobs = [site.job(first), site.job(second)]
    assert [job.state for job in jobs] == [JobState.RUNNING] * 2
    assert [job.path for job in jobs] == ["pool", ""]
    assert len({job.host for job in jobs}) == 2


@pytest.mark.parametrize("ready", [True, False])
def test_a_job_that_comes_while_the_next_vm_is_made_goes_the_ordinary_way(ready: bool) -> None:
    site = Site(pool=PoolConfig((flavour(1),)))
    site.hypervisor.auto_ready = ready
    site.lrms.guest_setup = lambda *_host: GuestSetup()  # type: ignore[method-assign]
    site.run(5)
    assert [vm.state for vm in site.pool()] == [PoolState.JOINING if ready else PoolState.COMING]
    number, answer = site.dispatch()
    assert (answer, site.job(number).vm) == ("stopped", "")


def test_vms_that_wait_make_room_for_a_vm_that_a_job_needs_now() -> None:
    site = pooled(flavour(8))
    number, _ = site.dispatch(cpus=2)
    site.run(1)
    assert site.job(number).state is JobState.RUNNING
    assert len(site.waiting()) == 6
    within_the_free_room(site)


@pytest.mark.parametrize("used", [False, True])
def test_a_silent_hypervisor_keeps_no_job_on_the_node_and_costs_at_most_the_vm(used: bool) -> None:
    site = pooled(flavour(1))
    (there,) = site.waiting()
    if used:  # it did, but its answer was lost
        site.hypervisor.use(there.id, VmUser("alice"))
    site.hypervisor.down = True
    number, answer = site.dispatch()
    assert (answer, site.job(number).vm) == ("stopped", "")
    site.hypervisor.down = False
    site.run(30)
    assert site.job(number).state is JobState.RUNNING
    assert (there.id in {vm.id for vm in site.waiting()}) is not used
    assert len(site.waiting()) == 1


def test_the_pool_may_see_before_it_is_told_that_a_job_s_record_names_its_vm() -> None:
    site = pooled(flavour(1))
    given = site.bait.pool.given

    def told_late(vm: object) -> None:
        site.bait.pool.step(site.pool(PoolState.TAKEN)[0].id)
        given(vm)  # type: ignore[arg-type]

    site.bait.pool.given = told_late  # type: ignore[method-assign]
    began = site.clock.now()
    number, answer = site.dispatch()
    assert (answer, site.job(number).state) == ("stopped", JobState.HELD)
    assert site.clock.now() == began


# when they go


@pytest.mark.parametrize(
    ("digests", "said"),
    [({TAG: "old"}, ""), ({TAG: "new"}, "another image"), ({"x_y_z": "old"}, "another image"), ({}, "")],
)
def test_a_vm_whose_image_was_replaced_or_retired_leaves(digests: dict[str, str], said: str) -> None:
    site = Site(pool=PoolConfig((flavour(1),)))
    site.hypervisor.digests = {TAG: "old"}
    site.run(10)
    (there,) = site.waiting()
    assert there.digest == "old"
    site.hypervisor.digests = digests
    site.run(30)
    assert (there.id in {vm.id for vm in site.waiting()}) is not bool(said)
    assert all(said in reason for reason in reasons(site)) and bool(reasons(site)) is bool(said)


def test_a_vm_of_the_new_image_is_made_only_when_that_of_the_old_one_is_gone() -> None:
    site = Site(pool=PoolConfig((flavour(8),)))
    site.hypervisor.digests = {TAG: "old"}
    site.run(10)
    site.watch = lambda: within_the_free_room(site)
    site.hypervisor.destroy = lambda vm_id: site.hypervisor.put(vm_id, VmState.RECYCLING)  # type: ignore[method-assign]
    site.hypervisor.digests = {TAG: "new"}
    site.run(30)
    assert [vm.state for vm in site.pool()] == [PoolState.LEAVING] * 8
    del site.hypervisor.destroy
    site.run(30)
    assert [vm.digest for vm in site.waiting()] == ["new"] * 8


@pytest.mark.parametrize("event", ["broken", "unknown", "down", "removed"])
def test_a_vm_that_is_lost_while_it_waits_is_replaced(event: str) -> None:
    site = pooled(flavour(1))
    (there,) = site.waiting()
    if event == "broken":
        site.hypervisor.put(there.id, VmState.BROKEN, "QEMU died")
        site.run(3)
    elif event == "unknown":
        del site.hypervisor.vms[there.id]
    elif event == "down":
        site.lrms.hosts[there.host].state = HostState.DOWN
    else:
        del site.lrms.hosts[there.host]
    site.run(3 if event == "broken" else 25)
    (now,) = site.waiting()
    assert now.id != there.id
    only_the_pool_left(site)


def test_a_vm_that_was_lost_unseen_is_not_given_to_a_job() -> None:
    site = pooled(flavour(1))
    (there,) = site.waiting()
    site.hypervisor.put(there.id, VmState.BROKEN, "QEMU died")
    number, answer = site.dispatch()
    assert (answer, site.job(number).vm) == ("stopped", "")
    site.run(10)
    assert site.job(number).state is JobState.RUNNING


def test_vms_that_fail_to_come_are_tried_with_growing_pauses_and_the_node_stays_open() -> None:
    site = Site(pool=PoolConfig((flavour(1),)))
    site.hypervisor.auto_ready = False
    born = []
    for _ in range(3):
        while not site.pool(PoolState.COMING):
            site.run(5)
        (vm,) = site.pool()
        born.append(vm.born)
        site.hypervisor.put(vm.id, VmState.BROKEN, "no init found")
        site.run(5)
        assert site.pool() == []
    first, second = born[1] - born[0], born[2] - born[1]
    assert site.config.backoff_s <= first <= site.config.backoff_s + 15
    assert 2 * site.config.backoff_s <= second <= 2 * site.config.backoff_s + 15
    site.bait.heartbeat()
    status = site.bait.status()
    assert "no init found" in status["problems"][-1]
    assert status["ok"] is True
    assert site.lrms.problem == ""
    site.hypervisor.auto_ready = True
    site.run(200)
    assert len(site.waiting()) == 1
    assert site.bait.status()["problems"] == []


def test_a_problem_is_that_of_a_kind_which_is_wanted_and_another_kind_does_not_hide_it() -> None:
    site = Site(pool=PoolConfig((flavour(1), flavour(1, 700))))
    site.hypervisor.auto_ready = False
    site.run(1)
    bad, good = site.pool()
    site.hypervisor.put(bad.id, VmState.BROKEN, "no init found")
    site.run(1)
    site.hypervisor.put(good.id, VmState.READY)
    site.run(5)
    assert [vm.id for vm in site.waiting()] == [good.id]
    assert "no init found" in site.bait.pool.problem
    site.lrms.drained = True
    site.run(10)
    assert site.bait.pool.problem == ""


def test_one_that_waits_does_not_shorten_the_pause_after_another_of_its_kind_failed() -> None:
    site = Site(pool=PoolConfig((flavour(2),)))
    site.hypervisor.auto_ready = False
    site.run(1)
    bad, good = site.pool()
    site.hypervisor.put(good.id, VmState.READY)
    site.run(2)
    site.hypervisor.put(bad.id, VmState.BROKEN, "no init found")
    site.run(site.config.backoff_s - 5)
    assert site.pool() == site.waiting() and len(site.waiting()) == 1


@pytest.mark.parametrize("where", ["hypervisor", "guest", "lrms"])
def test_a_vm_that_does_not_come_in_time_leaves(where: str) -> None:
    site = Site(pool=PoolConfig((flavour(1),)))
    if where == "hypervisor":
        site.hypervisor.auto_ready = False
    elif where == "guest":
        site.hypervisor.setup_failure = VirtError(object="guest", reason="no answer")
        site.lrms.guest_setup = lambda *_host: GuestSetup()  # type: ignore[method-assign]
    else:
        site.lrms.guest_setup = lambda *_host: GuestSetup()  # type: ignore[method-assign]
    site.run(1)
    (vm,) = site.pool()
    limit = site.config.vm_timeout_s if where == "hypervisor" else site.config.join_timeout_s
    site.run(limit - 10)
    assert site.bait.pool._journal.get(vm.id) in site.pool(PoolState.COMING, PoolState.JOINING)
    site.run(45)
    assert site.bait.pool._journal.get(vm.id) not in site.pool()
    assert site.hypervisor.vms[vm.id].state is VmState.GONE
    assert site.bait.status()["problems"] != []
