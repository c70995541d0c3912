# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of a virtual job over fakes: every state, every failure, every crash."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.bait.bait_fixture import (
    TAG,
    Killed,
    Site,
    flavour,
    killed,
    nothing_left,
    only_the_pool_left,
    pooled,
)
from wnodes.lrms.base import HostState, LrmsJob, LrmsJobState
from wnodes.lrms.fake import FakeHost
from wnodes.model.errors import LrmsError, VirtError
from wnodes.model.states import JobState, VmState
from wnodes.model.vm import GuestSetup, Vm

STATES = ["RECEIVED", "HELD", "VM_REQUESTED", "VM_READY", "MIGRATING", "RUNNING"]


@pytest.fixture
def site() -> Site:
    return Site()


def states(site: Site, number: str) -> list[str]:
    return [move.state for move in site.job(number).history]


def test_a_virtual_job_runs_on_its_vm_and_leaves_nothing(site: Site) -> None:
    number, answer = site.dispatch(cpus=2, memory_mib=700)
    assert answer == "stopped"
    site.run(5)
    assert site.lrms.table[number].host == "vwn-100"
    assert site.lrms.hosts["vwn-100"].user == "root"
    site.lrms.finish(number, 3)
    site.run(10)
    assert states(site, number) == [*STATES, "FINISHED", "CLOSED"]
    assert site.job(number).exit_code == 3
    nothing_left(site)


def test_a_vm_is_labelled_with_what_people_call_its_job(site: Site) -> None:
    number, _ = site.dispatch()
    site.lrms.names[number] = "my\njob"
    site.run(5)
    (vm,) = site.hypervisor.vms.values()
    assert vm.request.labels == {"job": number, "job_name": "my?job", "user": "alice"}
    assert site.job(number).name == "my?job"


def test_the_books_carry_the_vm_from_before_the_job_leaves_until_after_the_vm_went(site: Site) -> None:
    number, _ = site.dispatch(memory_mib=1000)
    assert site.lrms.calls.index("place") < site.lrms.calls.index("stop")
    (share,) = site.lrms.shares.values()
    assert share.memory_mib == 1000 + site.config.overheads.guest_mib + site.config.overheads.qemu_mib
    site.run(5)
    site.lrms.finish(number)
    site.hypervisor.destroy = lambda vm_id: site.hypervisor.put(vm_id, VmState.RECYCLING)  # type: ignore[method-assign]
    site.run(5)
    assert len(site.lrms.shares) == 1
    site.hypervisor.destroy = lambda vm_id: site.hypervisor.put(vm_id, VmState.GONE)  # type: ignore[method-assign]
    site.run(5)
    assert site.lrms.shares == {}


def test_a_short_job_that_is_over_before_we_look_is_finished(site: Site) -> None:
    number, _ = site.dispatch()
    send = site.lrms.send

    def sent(job: LrmsJob, host: str, original: dict[str, str], mark: str) -> None:
        send(job, host, original, mark)
        site.lrms.finish(job.id, 7)

    site.lrms.send = sent  # type: ignore[method-assign]  # the fake alone is changed
    site.run(10)
    assert site.job(number).outcome is JobState.FINISHED
    assert site.job(number).exit_code == 7


def test_a_job_cancelled_while_its_vm_boots_leaves_nothing(site: Site) -> None:
    site.hypervisor.auto_ready = False
    number, _ = site.dispatch()
    site.run(5)
    assert site.job(number).state is JobState.VM_REQUESTED
    site.lrms.change(number, state=LrmsJobState.CANCELLED)
    site.run(10)
    assert site.job(number).outcome is JobState.CANCELLED
    nothing_left(site)


@pytest.mark.parametrize("mine", [True, False])
def test_a_host_that_registers_while_its_vm_goes_is_removed_and_the_next_of_its_name_is_not(
    site: Site, monkeypatch: pytest.MonkeyPatch, mine: bool
) -> None:
    number, _ = site.dispatch()
    site.run(5)
    assert site.lrms.hosts
    job = site.job(number)
    take = site.hypervisor.destroy

    def late(vm_id: str) -> Vm:
        site.lrms.hosts[job.host] = FakeHost(key=vm_id if mine else "next")
        return take(vm_id)

    monkeypatch.setattr(site.hypervisor, "destroy", late)
    site.lrms.change(number, state=LrmsJobState.CANCELLED)
    site.run(10)
    assert site.job(number).state is JobState.CLOSED
    assert (job.host in site.lrms.hosts) is not mine


def break_a_vm(site: Site, number: str, reason: str) -> None:
    site.bait.dispatch(site.lrms.dispatch(number))
    site.run(3)
    site.hypervisor.put(site.job(number).id, VmState.BROKEN, reason)
    site.run(5)
    nothing_left(site)


def test_vms_that_break_are_the_nodes_fault_the_job_goes_on_with_growing_pauses() -> None:
    site = Site(backoff_s=200.0, max_backoff_s=700.0)
    site.lrms.alone = False
    site.hypervisor.auto_ready = False
    number, pauses = site.lrms.submit(tag=TAG), []
    for _ in range(5):
        site.run(site.bait.journey.faults.wait_s(TAG) + 1)
        break_a_vm(site, number, "no init found")
        assert site.job(number).outcome is JobState.RETURNED
        assert site.lrms.table[number].fixed["ExcNodeList"] == site.lrms.node
        pauses.append(site.lrms.delays[number])
    assert pauses == [200.0, 400.0, 700.0, 700.0, 700.0]
    assert "no init found" in site.lrms.table[number].mark
    assert any("5 VMs failed in a row" in problem for problem in site.bait.status()["problems"])
    assert site.bait.status()["ok"]


def test_after_some_failed_vms_in_a_row_jobs_go_elsewhere_without_one(site: Site) -> None:
    site.hypervisor.auto_ready = False
    for _ in range(3):
        break_a_vm(site, site.lrms.submit(tag=TAG), "no init found")
    made = len(site.hypervisor.vms)
    number, answer = site.dispatch()
    site.run(5)
    assert (answer, site.job(number).outcome, len(site.hypervisor.vms)) == ("stopped", JobState.RETURNED, made)
    site.run(site.config.backoff_s)
    site.hypervisor.auto_ready = True
    number, _ = site.dispatch()
    site.run(5)
    assert site.job(number).state is JobState.RUNNING
    assert site.bait.status()["problems"] == []


def test_a_job_that_breaks_its_vm_while_it_runs_is_held_after_some_times(site: Site) -> None:
    number = site.lrms.submit(tag=TAG)
    for attempt in range(1, site.config.max_attempts + 1):
        site.bait.dispatch(site.lrms.dispatch(number))
        site.run(5)
        assert (site.job(number).state, site.job(number).attempt) == (JobState.RUNNING, attempt)
        site.hypervisor.put(site.job(number).id, VmState.BROKEN, "kernel panic")
        site.run(40)
        nothing_left(site)
    assert site.job(number).outcome is JobState.REFUSED
    assert site.job(number).reason == "its VM ended while it ran, 3 times, the last time: kernel panic"
    assert site.bait.status()["problems"] == []


def test_a_vm_that_is_never_ready_returns_the_job(site: Site) -> None:
    site.hypervisor.auto_ready, site.clock.stretched = False, 2.0
    number, _ = site.dispatch()
    site.run(site.config.vm_timeout_s + 10)
    assert site.job(number).state is JobState.VM_REQUESTED  # the node is busy
    site.run(site.config.vm_timeout_s + 10)
    assert site.job(number).outcome is JobState.RETURNED
    assert "not ready after" in site.job(number).reason
    nothing_left(site)


def test_too_much_memory_for_any_node_is_held_with_what_would_fit(site: Site) -> None:
    number, answer = site.dispatch(memory_mib=7900)
    assert answer == "stopped"
    site.run(5)
    assert site.job(number).outcome is JobState.REFUSED
    assert site.lrms.table[number].state is LrmsJobState.HELD
    assert "ask for at most 7552 MiB" in site.lrms.table[number].mark
    nothing_left(site)


def test_too_much_memory_for_this_node_goes_back_for_another(site: Site) -> None:
    site.lrms.largest_mib = 64000
    number, _ = site.dispatch(memory_mib=7900)
    site.run(5)
    assert site.job(number).outcome is JobState.RETURNED
    assert site.lrms.table[number].fixed["ExcNodeList"] == "hv1"


@pytest.mark.parametrize(
    ("comment", "nodes", "said"),
    [("wnodes:colour=red", 1, "colour"), ("wnodes:scratch=lots", 1, "not a size"), ("", 2, "one node")],
)
def test_a_wish_that_is_never_granted_is_held_with_its_reason(site: Site, comment: str, nodes: int, said: str) -> None:
    number = site.lrms.submit(tag=TAG, nodes=nodes)
    site.bait.dispatch(site.lrms.dispatch(number, comment))
    site.run(5)
    assert site.job(number).outcome is JobState.REFUSED
    assert said in site.lrms.table[number].mark


def test_a_wish_that_was_changed_while_held_is_not_sent_to_the_old_vm(site: Site) -> None:
    site.hypervisor.auto_ready = False
    number, _ = site.dispatch()
    site.run(3)
    site.lrms.change(number, fixed={**site.lrms.table[number].fixed, "Features": "vm_other_debian12_x86_64"})
    site.hypervisor.put(site.job(number).id, VmState.READY)
    site.run(10)
    assert site.job(number).outcome is JobState.RETURNED
    assert "Features changed" in site.job(number).reason
    nothing_left(site)


def test_a_job_without_our_mark_is_touched_no_more(site: Site) -> None:
    site.hypervisor.auto_ready = False
    number, _ = site.dispatch()
    site.run(3)
    site.lrms.change(number, mark="someone else's")
    site.lrms.calls.clear()
    site.run(10)
    assert site.job(number).outcome is JobState.RETURNED
    assert not {"stop", "give_back", "send"} & set(site.lrms.calls)
    nothing_left(site)


def test_a_job_dispatched_again_gets_a_new_vm_and_the_old_one_goes(site: Site) -> None:
    site.hypervisor.auto_ready = False
    number, _ = site.dispatch()
    site.run(3)
    first = site.job(number).id
    site.bait.dispatch(site.lrms.dispatch(number))
    site.run(5)
    assert site.hypervisor.vms[first].state is VmState.GONE
    assert site.job(number).id != first


def test_a_running_job_put_back_into_the_queue_is_unpinned(site: Site) -> None:
    number, _ = site.dispatch()
    site.run(5)
    site.lrms.change(number, state=LrmsJobState.PENDING, host="")
    site.run(10)
    assert site.lrms.table[number].fixed["ReqNodeList"] == ""
    assert site.job(number).outcome is JobState.RETURNED
    nothing_left(site)


def test_a_vm_lost_under_a_running_job_makes_the_lrms_put_the_job_back(site: Site) -> None:
    number, _ = site.dispatch()
    site.run(5)
    site.hypervisor.put(site.job(number).id, VmState.BROKEN, "QEMU died")
    site.run(20)
    assert site.lrms.table[number].state is LrmsJobState.PENDING
    assert site.lrms.table[number].fixed["Partition"] == "main"
    nothing_left(site)


def test_a_vm_the_lrms_closes_before_the_job_starts_is_a_failed_vm(site: Site) -> None:
    number, _ = site.dispatch()
    send = site.lrms.send

    def prolog_failed(job: LrmsJob, host: str, original: dict[str, str], mark: str) -> None:
        send(job, host, original, mark)
        site.lrms.change(job.id, state=LrmsJobState.PENDING, host="")
        site.lrms.hosts["vwn-100"].state = HostState.CLOSED

    site.lrms.send = prolog_failed  # type: ignore[method-assign]
    site.run(5)
    assert site.job(number).outcome is JobState.RETURNED
    assert site.lrms.delays[number] > site.lrms.quarantine - 10
    nothing_left(site)


def test_a_guest_that_refuses_its_setup_ends_as_a_failed_vm(site: Site) -> None:
    site.hypervisor.setup_failure = VirtError(object="guest", reason="munged did not start")
    site.lrms.guest_setup = lambda *_host: GuestSetup()  # type: ignore[method-assign]
    number, _ = site.dispatch()
    site.run(site.config.join_timeout_s + 60)
    assert site.job(number).outcome is JobState.RETURNED
    assert "munged did not start" in site.job(number).reason
    nothing_left(site)


@pytest.mark.parametrize("silent", ["lrms", "hypervisor"])
def test_silence_of_a_neighbour_changes_nothing(site: Site, silent: str) -> None:
    number, _ = site.dispatch()
    site.run(5)
    getattr(site, silent).down = True
    site.run(120)
    assert site.job(number).state is JobState.RUNNING
    assert site.lrms.holders and site.lrms.hosts
    getattr(site, silent).down = False
    site.lrms.finish(number)
    site.run(60)
    assert site.job(number).outcome is JobState.FINISHED
    nothing_left(site)


@pytest.mark.parametrize(
    "call", ["room", "place", "stop", "jobs", "name", "host", "open_host", "send", "remove_host", "unplace"]
)
def test_each_lrms_call_may_fail_once(site: Site, call: str) -> None:
    site.lrms.fail_next(call)
    number, answer = site.dispatch()
    assert answer == "stopped"
    site.run(20)
    site.lrms.finish(number)
    site.run(20)
    assert site.job(number).outcome is JobState.FINISHED
    nothing_left(site)


POINTS = [
    "bait.place",
    "bait.stop",
    "bait.held",
    "bait.vm_requested",
    "bait.vm_ready",
    "bait.join",
    "bait.migrating",
    "bait.send",
    "bait.running",
    "bait.finished",
    "bait.remove_host",
    "bait.unplace",
]


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_point_and_started_again_it_converges(tmp_path: Path, point: str) -> None:
    site = Site(str(tmp_path / "bait.db"))

    site.failpoints.set(point, killed)
    died = False
    number = site.lrms.submit(tag=TAG)
    dispatch = site.lrms.dispatch(number)
    try:
        site.bait.dispatch(dispatch)
        site.run(5)
        site.lrms.finish(number, 4)
        site.run(10)
    except Killed:
        died = True
        site.restart()
        if site.job(number).state is JobState.RECEIVED:
            site.bait.dispatch(dispatch)  # the hook asks again
        site.run(10)
        if site.lrms.table[number].state is LrmsJobState.RUNNING:
            site.lrms.finish(number, 4)
        site.run(10)
    assert died
    assert site.job(number).exit_code == 4
    assert site.job(number).outcome is JobState.FINISHED
    nothing_left(site)


EVENTS = st.lists(
    st.sampled_from(
        ["tick", "cancel", "break", "release", "finish", "lrms_down", "lrms_up", "hv_down", "hv_up", "crash"]
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(events=EVENTS, boots=st.booleans())
def test_whatever_happens_the_node_is_clean_afterwards_and_no_job_runs_bare(events: list[str], boots: bool) -> None:
    site = Site()
    site.hypervisor.auto_ready = boots
    number, _ = site.dispatch()
    for event in events:
        job = site.lrms.table[number]
        if event == "cancel":
            site.lrms.change(number, state=LrmsJobState.CANCELLED)
        elif event == "break" and any(vm.state is not VmState.GONE for vm in site.hypervisor.vms.values()):
            site.hypervisor.put(site.job(number).id, VmState.BROKEN, "broke")
        elif event == "release" and job.state is LrmsJobState.HELD:
            site.lrms.change(number, state=LrmsJobState.PENDING)
        elif event == "finish" and job.state is LrmsJobState.RUNNING:
            site.lrms.finish(number)
        elif event.startswith("lrms"):
            site.lrms.down = event.endswith("down")
        elif event.startswith("hv"):
            site.hypervisor.down = event.endswith("down")
        site.run(5)
        assert site.lrms.table[number].host != "hv1"
    site.lrms.down = site.hypervisor.down = False
    if site.lrms.table[number].state not in (LrmsJobState.CANCELLED, LrmsJobState.ENDED):
        site.lrms.change(number, state=LrmsJobState.CANCELLED)
    site.run(1000)
    assert site.job(number).state is JobState.CLOSED
    nothing_left(site)


def test_a_real_job_is_let_through_without_a_word_to_the_lrms(site: Site) -> None:
    dispatch = site.lrms.dispatch(site.lrms.submit())
    site.lrms.calls.clear()
    answer = site.bait.dispatch(dispatch)
    assert answer is not None and answer.action == "run"
    assert site.lrms.calls == []


def test_no_decision_is_given_while_the_lrms_is_down(site: Site) -> None:
    number = site.lrms.submit(tag=TAG)
    dispatch = site.lrms.dispatch(number)
    site.lrms.down = True
    with pytest.raises(LrmsError):
        site.bait.dispatch(dispatch)
    assert HostState.ABSENT.value


def test_an_old_reading_decides_nothing(site: Site) -> None:
    """Between two polls the bait's picture of the job still says HELD while it runs already."""
    number, _ = site.dispatch()
    site.bait.poll()
    site.bait.poll = lambda: None  # type: ignore[method-assign]
    site.run(1)
    assert site.job(number).state is JobState.RUNNING
    site.lrms.finish(number)
    site.run(10)
    assert site.job(number).outcome is JobState.FINISHED


# with a VM that has waited for it


def test_the_share_of_a_waiting_vm_is_on_the_books_from_its_job_s_stop_on() -> None:
    site = pooled(flavour(1))
    assert site.lrms.room().free.memory_mib == 8000
    stop, before = site.lrms.stop, []

    def stopped(*seen: object) -> None:
        before.append(set(site.lrms.waiting))
        stop(*seen)  # type: ignore[arg-type]

    site.lrms.stop = stopped  # type: ignore[method-assign]
    (there,) = site.waiting()
    site.dispatch()
    assert before == [{there.placeholder}]
    assert site.lrms.room().free.memory_mib == 8000 - 960


def test_the_accounts_are_written_while_the_job_leaves_the_node() -> None:
    site = pooled(flavour(1))
    (there,) = site.waiting()
    number, _ = site.dispatch()
    site.lrms.change(number, state=LrmsJobState.COMPLETING)
    site.run(0.1)
    assert site.job(number).state is JobState.HELD
    introduced = (*site.lrms.accounts("alice"), *site.job(number).environment)
    assert site.hypervisor.setups[there.id][-1] == GuestSetup(introduced)


def test_a_vm_lost_after_a_job_took_it_returns_the_job() -> None:
    site = pooled(flavour(1))
    number, _ = site.dispatch()
    site.hypervisor.put(site.job(number).vm, VmState.BROKEN, "QEMU died")
    site.run(20)
    assert site.job(number).outcome is JobState.RETURNED
    assert "QEMU died" in site.job(number).reason
    assert site.lrms.table[number].state is LrmsJobState.PENDING
    only_the_pool_left(site)


def test_a_vm_in_which_nobody_can_be_introduced_returns_the_job() -> None:
    site = pooled(flavour(1))
    site.hypervisor.setup_failure = VirtError(object="guest", reason="no answer")
    number, _ = site.dispatch()
    site.run(site.config.join_timeout_s + 60)
    assert site.job(number).outcome is JobState.RETURNED
    assert "no answer" in site.job(number).reason
