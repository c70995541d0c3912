# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a job is left, and that what was made for it goes in any case."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.plugins.module_utils.bait.bait_fixture import Site, nothing_left
from wnodes.bait.ending import LEFT
from wnodes.lrms.base import LrmsJob, LrmsJobState
from wnodes.model.errors import LrmsRefused
from wnodes.model.job import Hold
from wnodes.model.mark import Mark, is_under_way
from wnodes.model.states import JobState, VmState


@pytest.fixture
def site() -> Site:
    return Site()


def running(site: Site, **submit: object) -> str:
    number, _ = site.dispatch(**submit)
    site.run(5)
    assert site.job(number).state is JobState.RUNNING
    return number


def mark(site: Site, number: str) -> Mark:
    found = Mark.parse(site.lrms.table[number].mark)
    assert found is not None
    return found


@pytest.mark.parametrize("ran_s", [0, 60, 300])
def test_a_job_that_is_put_back_while_it_runs_stays_off_all_nodes_until_none_remembers_it(
    site: Site, ran_s: float
) -> None:
    number = running(site)
    left = site.job(number).moments[LEFT]
    site.run(ran_s)
    site.lrms.change(number, state=LrmsJobState.PENDING, host="")
    site.run(20)
    assert site.job(number).outcome is JobState.RETURNED
    now = site.job(number).history[-1].at
    assert left + site.lrms.quarantine - 1 <= now + site.lrms.delays[number]
    assert site.lrms.delays[number] == pytest.approx(max(0.0, left + site.lrms.quarantine - now), abs=1)


def test_a_job_that_is_put_back_before_it_was_seen_to_run_gets_another_vm(site: Site) -> None:
    number, _ = site.dispatch()
    send = site.lrms.send

    def sent(job: LrmsJob, host: str, original: dict[str, str], mark: str) -> None:
        send(job, host, original, mark)
        restarts = site.lrms.table[job.id].restarts + 1
        site.lrms.change(
            job.id, state=LrmsJobState.PENDING, host="", reason="BeginTime", limited=True, restarts=restarts
        )

    site.lrms.send = sent  # type: ignore[method-assign]  # the fake alone is changed
    site.run(10)
    assert (site.job(number).outcome, site.job(number).failed) == (JobState.RETURNED, False)
    assert site.lrms.delays[number] > site.lrms.quarantine - 10
    nothing_left(site)


def test_after_a_restart_of_the_bait_a_returned_job_stays_away_for_the_whole_time(site: Site) -> None:
    number = running(site)
    site.restart()
    site.lrms.change(number, state=LrmsJobState.PENDING, host="")
    site.run(5)
    assert site.lrms.delays[number] >= site.lrms.quarantine - 5


@pytest.mark.parametrize("hold", [Hold.OWNER, Hold.ADMINISTRATOR])
def test_a_job_that_somebody_puts_back_and_holds_stays_held_by_whom_it_was(site: Site, hold: Hold) -> None:
    number = running(site)
    site.lrms.change(number, state=LrmsJobState.HELD, host="", hold=hold)
    site.run(10)
    assert (site.job(number).outcome, site.lrms.holds[number]) == (JobState.RETURNED, hold)
    assert site.lrms.table[number].state is LrmsJobState.HELD
    nothing_left(site)


def test_a_job_that_its_owner_holds_while_its_vm_is_made_is_his(site: Site) -> None:
    site.hypervisor.auto_ready = False
    number, _ = site.dispatch()
    site.run(3)
    site.lrms.hold_by_owner(number)
    site.run(5)
    assert (site.job(number).outcome, site.lrms.holds[number]) == (JobState.RETURNED, Hold.OWNER)
    nothing_left(site)


def test_an_owner_who_makes_a_held_job_nicer_keeps_its_vm(site: Site) -> None:
    site.hypervisor.auto_ready = False
    number, _ = site.dispatch()
    site.run(3)
    fixed = site.lrms.table[number].fixed
    site.lrms.change(number, state=LrmsJobState.PENDING, hold=Hold.NOBODY, fixed={**fixed, "Nice": "50"})
    site.run(3)
    assert (site.lrms.table[number].state, site.job(number).state) == (LrmsJobState.HELD, JobState.VM_REQUESTED)
    site.lrms.change(number, state=LrmsJobState.PENDING, hold=Hold.NOBODY)
    site.run(5)
    assert (site.job(number).outcome, site.job(number).reason) == (JobState.RETURNED, "it was released by someone else")


def test_what_the_owner_changes_while_its_vm_is_made_stays(site: Site) -> None:
    site.hypervisor.auto_ready = False
    number, _ = site.dispatch()
    site.run(3)
    fixed = site.lrms.table[number].fixed
    site.lrms.change(number, fixed={**fixed, "TimeLimit": "10:00", "Partition": "main,long"})
    site.hypervisor.put(site.job(number).id, VmState.READY)
    site.run(5)
    assert site.lrms.table[number].fixed["TimeLimit"] == "10:00"
    assert mark(site, number).undo["Partition"] == "main,long"
    site.lrms.change(number, state=LrmsJobState.PENDING, host="")
    site.run(5)
    fixed = site.lrms.table[number].fixed
    assert (fixed["TimeLimit"], fixed["Partition"], fixed["ReqNodeList"]) == ("10:00", "main,long", "")


def test_what_has_to_be_undone_stands_in_the_lrms_while_it_has_to_and_no_longer(site: Site) -> None:
    number = site.lrms.submit(tag="worker_debian12_x86_64")
    site.lrms.change(number, fixed={**site.lrms.table[number].fixed, "Requeue": "0"})
    site.hypervisor.auto_ready = False
    site.bait.dispatch(site.lrms.dispatch(number))
    assert mark(site, number).undo == {"Requeue": "0"}
    site.run(3)
    site.hypervisor.put(site.job(number).id, VmState.READY)
    site.run(5)
    undo = {"Partition": "main", "ReqNodeList": "", "ReservationName": "", "Requeue": "0"}
    assert mark(site, number).undo == undo
    site.lrms.change(number, state=LrmsJobState.PENDING, host="")
    site.run(5)
    assert not is_under_way(site.lrms.table[number].mark)
    assert site.lrms.table[number].fixed["Requeue"] == "0"


def test_a_job_that_the_lrms_will_not_change_keeps_neither_vm_nor_share(site: Site) -> None:
    number = running(site)

    def refused(*_args: object) -> None:
        raise LrmsRefused(object="scontrol", reason="Requested reservation is invalid")

    give_back, site.lrms.give_back = site.lrms.give_back, refused  # type: ignore[method-assign,assignment]
    site.lrms.change(number, state=LrmsJobState.PENDING, host="")
    site.run(120)
    assert site.job(number).state is JobState.RETURNED
    assert site.lrms.shares == {}
    assert {vm.state for vm in site.hypervisor.vms.values()} == {VmState.GONE}
    site.lrms.give_back = give_back  # type: ignore[method-assign]
    site.run(60)
    assert site.job(number).outcome is JobState.RETURNED
    nothing_left(site)


def test_our_own_stops_are_no_restarts_of_the_jobs(site: Site) -> None:
    number = running(site)
    assert "restarts=0" in site.job(number).environment[0].content
    site.lrms.change(number, state=LrmsJobState.PENDING, host="", restarts=2)  # ours, and the owner's
    site.run(5)
    site.bait.dispatch(site.lrms.dispatch(number))
    site.run(5)
    assert (site.job(number).stops, site.job(number).restarts) == (2, 1)
    assert "partition=main restarts=1" in site.job(number).environment[0].content


def test_what_was_read_while_the_job_was_let_go_is_no_hold_of_an_administrators(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, poll, sightings = site.lrms.send, site.bait.poll, site.bait._sightings
    before: dict[str, LrmsJob] = {}

    def slow(job: LrmsJob, *rest: Any) -> None:
        before[job.id] = job
        send(job, *rest)

    def late() -> None:
        poll()
        # it was asked before the job was let go, and is answered now
        sightings._seen.update({number: (site.clock.now(), job) for number, job in before.items()})

    monkeypatch.setattr(site.lrms, "send", slow)
    monkeypatch.setattr(site.bait, "poll", late)
    number, _ = site.dispatch()
    site.run(5)
    assert site.job(number).state is JobState.RUNNING
