# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bait does beside its jobs: opening and closing the node, telling the site, dead placeholders."""

from __future__ import annotations

from tests.unit.plugins.module_utils.bait.bait_fixture import TAG, Site
from wnodes.model.job import Dispatch


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
