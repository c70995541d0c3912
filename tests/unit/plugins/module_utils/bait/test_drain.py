# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drained node takes no job, loses none, and says how far it is; whatever dies meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

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
from wnodes.bait.drain import DrainWish
from wnodes.lrms.base import LrmsJobState
from wnodes.model.errors import RequestError
from wnodes.model.states import JobState

WISH = DrainWish("new kernel")
AT_ONCE = DrainWish("new kernel", 60.0, "requeue")


@pytest.fixture
def site() -> Site:
    made = Site()
    made.bait.heartbeat()
    return made


def running(site: Site) -> str:
    number, _answer = site.dispatch()
    site.run(5)
    assert site.job(number).state is JobState.RUNNING
    return number


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (DrainWish(" "), "reason"),
        (DrainWish("two\nlines"), "reason"),
        (DrainWish("x" * 121), "reason"),
        (DrainWish("x", 0.0), "deadline_s"),
        (DrainWish("x", float("inf")), "deadline_s"),
        (DrainWish("x", 1.0, "kill"), "must be wait or requeue"),
        (DrainWish("x", None, "requeue"), "needs a deadline"),
    ],
)
def test_a_wish_that_makes_no_sense_changes_nothing(site: Site, wish: DrainWish, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        site.bait.drain(wish, "root")
    assert site.bait.status()["drain"] is None


def test_a_drained_node_is_closed_at_once_and_is_no_problem(site: Site) -> None:
    told = site.bait.drain(WISH, "root on head")
    assert told["changed"] is True
    assert site.lrms.problem == "root on head drained it: new kernel"
    site.bait.heartbeat()
    status = site.directory.heard[-1].status
    assert (status["ok"], status["problems"]) == (True, [])
    wanted = {"reason": "new kernel", "who": "root on head", "jobs": 0, "vms": 0, "empty": True, "late": False}
    assert {key: status["drain"][key] for key in wanted} == wanted
    assert site.lrms.tags == (TAG,)


def test_it_opens_again_when_the_order_is_lifted(site: Site) -> None:
    site.bait.drain(WISH, "root")
    assert site.bait.undrain()["changed"] is True
    assert (site.lrms.problem, site.bait.status()["drain"]) == ("", None)
    assert site.bait.undrain()["changed"] is False


def test_the_same_order_twice_is_one_and_another_one_replaces_it(site: Site) -> None:
    site.bait.drain(AT_ONCE, "root")
    since = site.bait.status()["drain"]["since"]
    site.clock.advance(10)
    assert site.bait.drain(AT_ONCE, "root")["changed"] is False
    assert site.bait.status()["drain"]["since"] == since
    assert site.bait.drain(WISH, "bob")["changed"] is True
    told = site.bait.status()["drain"]
    assert (told["who"], told["since"], told["deadline"]) == ("bob", since + 10, None)


def test_an_order_is_kept_before_it_is_acted_upon_and_outlives_the_bait(tmp_path: Path) -> None:
    site = Site(str(tmp_path / "bait.db"))
    site.failpoints.set("bait.drain", killed)
    with pytest.raises(Killed):
        site.bait.drain(WISH, "root")
    assert site.lrms.problem == ""
    site.restart()
    site.bait.heartbeat()
    assert site.lrms.problem == "root drained it: new kernel"
    site.bait.undrain()
    site.restart()
    site.bait.heartbeat()
    assert site.lrms.problem == ""


def test_it_is_closed_even_if_the_hypervisor_never_spoke_and_keeps_what_it_offers() -> None:
    site = Site()
    site.lrms.tags = (TAG,)
    site.hypervisor.down = True
    site.bait.drain(WISH, "root")
    assert (site.lrms.tags, site.lrms.problem) == ((TAG,), "root drained it: new kernel")


def test_a_problem_of_the_node_keeps_it_closed_after_the_order_is_lifted(site: Site) -> None:
    site.hypervisor.down = True
    site.bait.heartbeat()
    site.bait.drain(WISH, "root")
    assert site.lrms.problem.startswith("root drained it: new kernel; the hypervisor does not answer")
    site.bait.undrain()
    assert site.lrms.problem.startswith("the hypervisor does not answer")


def test_while_the_batch_system_does_not_answer_nobody_claims_that_the_node_is_empty(site: Site) -> None:
    site.lrms.down = True
    told = site.bait.drain(WISH, "root")
    assert (told["drain"]["jobs"], told["drain"]["empty"]) == (None, False)
    assert any("lrms" in problem for problem in told["problems"])
    site.lrms.down = False
    site.bait.heartbeat()
    assert site.lrms.problem
    assert site.bait.status()["drain"]["empty"] is True


def test_a_job_that_runs_goes_on_and_is_counted_until_all_that_was_made_for_it_is_gone(site: Site) -> None:
    number = running(site)
    told = site.bait.drain(WISH, "root")["drain"]
    assert (told["jobs"], told["empty"]) == (1, False)
    site.run(100)
    assert site.job(number).state is JobState.RUNNING
    site.lrms.finish(number)
    site.run(10)
    assert site.bait.status()["drain"]["empty"] is True
    nothing_left(site)


def test_real_jobs_on_the_node_count_too(site: Site) -> None:
    number = site.lrms.submit()
    site.bait.dispatch(site.lrms.dispatch(number))
    assert site.bait.drain(WISH, "root")["drain"]["jobs"] == 1
    site.lrms.finish(number)
    site.bait.heartbeat()
    assert site.bait.status()["drain"]["jobs"] == 0


def test_jobs_that_only_wait_for_their_vm_go_back_into_the_queue_at_once(site: Site) -> None:
    site.hypervisor.auto_ready = False
    number, _answer = site.dispatch()
    site.run(5)
    assert site.job(number).state is JobState.VM_REQUESTED
    site.bait.drain(WISH, "root")
    site.run(5)
    job = site.job(number)
    assert (job.outcome, job.reason, job.attempt) == (JobState.RETURNED, "its node was drained: new kernel", 1)
    assert site.lrms.table[number].state is LrmsJobState.PENDING
    assert site.lrms.delays[number] > site.lrms.quarantine - 10
    nothing_left(site)


def test_a_job_that_was_sent_here_in_the_last_moment_goes_back_without_a_placeholder(site: Site) -> None:
    site.bait.drain(WISH, "root")
    number, answer = site.dispatch()
    site.run(5)
    assert (answer, site.job(number).outcome) == ("stopped", JobState.RETURNED)
    assert "place" not in site.lrms.calls


def test_waiting_vms_leave_and_come_back(site: Site) -> None:
    site = pooled(flavour(2))
    told = site.bait.drain(WISH, "root")["drain"]
    assert (told["vms"], told["empty"]) == (2, False)
    site.run(10)
    assert site.bait.status()["drain"]["empty"] is True
    nothing_left(site)
    site.bait.undrain()
    site.run(30)
    assert len(site.waiting()) == 2
    only_the_pool_left(site)


def test_at_the_deadline_jobs_go_back_into_the_queue_where_that_was_asked_for(site: Site) -> None:
    number = running(site)
    site.bait.drain(AT_ONCE, "root")
    site.run(55)
    assert site.job(number).state is JobState.RUNNING
    site.run(20)
    job = site.job(number)
    assert (job.outcome, job.reason) == (JobState.RETURNED, "its node was drained: new kernel")
    assert site.lrms.table[number].state is LrmsJobState.PENDING
    assert site.bait.status()["drain"]["late"] is False
    nothing_left(site)


def test_at_the_deadline_jobs_go_on_where_waiting_was_asked_for_and_the_node_is_late(site: Site) -> None:
    number = running(site)
    site.bait.drain(DrainWish("new kernel", 60.0), "root")
    assert site.bait.status()["drain"]["late"] is False
    site.run(70)
    assert site.job(number).state is JobState.RUNNING
    assert site.bait.status()["drain"]["late"] is True


def test_a_job_that_can_not_begin_again_is_not_lost_at_the_deadline(site: Site) -> None:
    number = running(site)
    site.lrms.interactive.add(number)
    site.bait.drain(AT_ONCE, "root")
    site.run(100)
    assert site.job(number).state is JobState.RUNNING
    assert site.bait.status()["drain"]["late"] is True


def test_a_job_that_was_put_back_as_the_bait_died_is_put_back_once(tmp_path: Path) -> None:
    site = Site(str(tmp_path / "bait.db"))
    site.bait.heartbeat()
    number = running(site)
    site.bait.drain(AT_ONCE, "root")
    site.failpoints.set("bait.returned", killed)
    with pytest.raises(Killed):
        site.run(70)
    site.restart()
    site.run(10)
    assert site.job(number).outcome is JobState.RETURNED
    assert site.lrms.calls.count("requeue") == 1
    nothing_left(site)
