# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second net: virtual jobs that run on the node itself."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.bait.bait_fixture import TAG, Site
from wnodes.lrms.base import LrmsJobState
from wnodes.model.states import JobState
from wnodes_services.rules import parse


@pytest.fixture
def site() -> Site:
    site = Site()
    site.bait.bare.look()
    return site


def bare(site: Site, **submit: str) -> str:
    number = site.lrms.submit(**{"tag": TAG, **submit})
    site.lrms.start_bare(number)
    site.bait.bare.look()
    return number


def test_a_virtual_job_on_the_node_itself_is_stopped_told_and_counted(site: Site) -> None:
    number = bare(site)
    assert site.lrms.table[number].state is LrmsJobState.HELD
    site.run(5)
    assert (site.job(number).outcome, site.lrms.table[number].state) == (JobState.RETURNED, LrmsJobState.PENDING)
    assert site.lrms.delays[number] >= site.lrms.quarantine - 5
    status = site.bait.status()
    assert any("1 virtual jobs began on the node itself" in problem for problem in status["problems"])
    assert (site.bait.bare.count, status["ok"]) == (1, True)


def test_one_that_must_not_run_twice_is_ended_with_the_reason(site: Site) -> None:
    number = site.lrms.submit(tag=TAG)
    site.lrms.interactive.add(number)
    site.lrms.start_bare(number)
    site.bait.bare.look()
    site.run(5)
    assert site.lrms.table[number].state is LrmsJobState.CANCELLED
    assert "started on the node itself" in site.lrms.table[number].mark
    assert "which could not be put back" in site.bait.bare.problem()


def test_a_job_that_comes_back_to_the_node_while_its_vm_is_made_is_stopped(site: Site) -> None:
    site.hypervisor.auto_ready = False
    number, _ = site.dispatch()
    site.run(3)
    site.lrms.start_bare(number)
    site.bait.bare.look()
    site.run(5)
    assert (site.bait.bare.count, site.lrms.table[number].state) == (1, LrmsJobState.PENDING)


def test_real_jobs_jobs_on_vms_and_those_the_hook_is_at_are_left_alone(site: Site) -> None:
    real = bare(site, tag="")
    assert site.lrms.table[real].state is LrmsJobState.RUNNING
    virtual, _ = site.dispatch()
    site.run(5)
    site.lrms.runs["on its VM"] = virtual
    site.bait.bare.look()
    assert site.lrms.table[virtual].state is LrmsJobState.RUNNING
    assert site.bait.bare.count == 0


def test_a_run_is_asked_about_once(site: Site) -> None:
    bare(site, tag="")
    site.lrms.calls.clear()
    site.bait.bare.look()
    assert "jobs" not in site.lrms.calls and "job" not in site.lrms.calls


def test_while_nothing_is_known_nothing_is_done_and_it_is_looked_at_again(site: Site) -> None:
    number = site.lrms.submit(tag=TAG)
    site.lrms.start_bare(number)
    site.lrms.fail_next("job")
    with pytest.raises(Exception, match="does not answer"):
        site.bait.bare.look()
    site.bait.bare.look()
    assert site.bait.bare.count == 1


def test_a_job_that_is_virtual_by_a_rule_is_caught_and_one_that_the_hook_let_run_is_not() -> None:
    site = Site(rules=parse("- match: {users: [bob]}\n  image: {default: worker_debian12_x86_64}\n", "r"))
    before = site.lrms.submit(user="bob")
    site.lrms.start_bare(before)
    site.bait.bare.look()
    assert site.bait.bare.count == 0, "it may have begun when there was no such rule"
    let_run = site.lrms.submit(user="bob")
    site.bait.bare.let_run(let_run)
    site.lrms.start_bare(let_run)
    site.bait.bare.look()
    assert site.bait.bare.count == 0
    bare(site, tag="", user="bob")
    assert site.bait.bare.count == 1
