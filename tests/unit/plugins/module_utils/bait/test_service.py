# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bait does beside its jobs: opening and closing the node, telling the site, dead placeholders."""

from __future__ import annotations

from tests.unit.plugins.module_utils.bait.bait_fixture import TAG, Site, flavour, pooled
from wnodes.bait.config import PoolConfig
from wnodes.model.job import Dispatch
from wnodes.model.states import VmState


def test_a_healthy_node_offers_its_tags_and_says_so() -> None:
    site = Site()
    site.bait.heartbeat()
    assert (site.lrms.tags, site.lrms.problem) == ((TAG,), "")
    assert site.directory.heard[-1].status["ok"] is True


def test_without_its_hypervisor_the_node_closes_and_reopens_by_itself() -> None:
    site = Site()
    site.bait.heartbeat()
    site.hypervisor.down = True
    site.bait.heartbeat()
    assert "hypervisor does not answer" in site.lrms.problem
    assert site.lrms.tags == (TAG,)
    assert site.directory.heard[-1].status["ok"] is False
    site.hypervisor.down = False
    site.bait.heartbeat()
    assert site.lrms.problem == ""


def test_a_placeholder_of_no_job_goes() -> None:
    site = Site()
    site.bait.heartbeat()
    site.lrms.holders["feedface0000"] = "99"
    site.bait.heartbeat()
    assert site.lrms.holders == {}


def test_the_epilog_of_a_job_is_let_through() -> None:
    answer = Site().bait.dispatch(Dispatch("epilog", "1", {}))
    assert answer is not None and answer.action == "run"


def test_a_job_explains_what_it_waits_for_and_where_the_time_went() -> None:
    site = Site()
    site.hypervisor.auto_ready = False
    site.dispatch()
    site.run(10)
    (told,) = site.bait.jobs()
    assert told["waits_for"] == "its VM to be ready"
    assert told["seconds"]["VM_REQUESTED"] >= 9
    assert list(told["phases"]) == ["hook", "hold"]
    assert told["path"] == ""


def test_each_job_is_observed_once_when_it_is_closed() -> None:
    seen: list[tuple[str, str]] = []
    site = Site(observe=lambda job: seen.append((job.lrms_id, job.state.value)))
    number, _answer = site.dispatch()
    site.run()
    assert seen == []
    site.lrms.finish(number)
    site.run()
    site.restart()
    site.run()
    assert seen == [(number, "CLOSED")]


def test_the_site_hears_at_once_of_a_job_that_moves() -> None:
    site = Site()
    assert not site.bait._beat_now.is_set()
    site.dispatch()
    assert site.bait._beat_now.is_set()


# with VMs that wait


def test_a_heartbeat_leaves_the_placeholders_of_waiting_and_taken_vms_alone() -> None:
    site = pooled(flavour(2))
    site.bait.heartbeat()
    assert len(site.lrms.holders) == 2
    number, _ = site.dispatch()
    site.bait.heartbeat()
    assert len(site.lrms.holders) == 2
    site.run(5)
    site.bait.heartbeat()
    assert len(site.lrms.holders) == 3
    assert site.job(number).placeholder in site.lrms.holders.values()


def test_a_heartbeat_leaves_a_placeholder_alone_whose_vm_is_taken_while_it_looks() -> None:
    site = pooled(flavour(1))
    (there,) = site.waiting()
    placeholders, keys = site.lrms.placeholders, site.bait.pool.keys

    def taken_meanwhile() -> tuple[str, ...]:
        site.bait.pool.keys = keys  # type: ignore[method-assign]
        site.dispatch()
        return keys()

    site.bait.pool.keys = taken_meanwhile  # type: ignore[method-assign]
    site.bait.heartbeat()
    assert placeholders()[there.id] == there.placeholder


def test_a_heartbeat_leaves_a_placeholder_alone_that_is_placed_while_it_looks() -> None:
    site = Site()
    placeholders = site.lrms.placeholders
    site.bait.heartbeat()

    def placed_meanwhile() -> dict[str, str]:
        site.lrms.placeholders = placeholders  # type: ignore[method-assign]
        site.dispatch()
        return placeholders()

    site.lrms.placeholders = placed_meanwhile  # type: ignore[method-assign]
    site.bait.heartbeat()
    assert len(site.lrms.holders) == 1


def test_the_site_is_told_what_should_wait_and_what_does() -> None:
    site = Site(pool=PoolConfig((flavour(2),)))
    site.hypervisor.auto_ready = False
    site.run(5)
    told = {"tag": TAG, "flavour": "1x512", "target": 2}
    (said,) = site.bait.status()["pool"]
    assert {**said, "flavour": "1x512"} == {**told, "waiting": 0, "coming": 2}
    for vm in site.pool():
        site.hypervisor.put(vm.id, VmState.READY)
    site.run(5)
    (said,) = site.bait.status()["pool"]
    assert (said["waiting"], said["coming"]) == (2, 0)
