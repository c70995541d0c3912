# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's books, and who takes what from them."""

from __future__ import annotations

from tests.unit.plugins.module_utils.bait.bait_fixture import Site, flavour, nothing_left, pooled
from wnodes.model.states import JobState


def test_the_share_of_a_running_vm_that_was_lost_is_taken_again() -> None:
    site = Site()
    number, _ = site.dispatch()
    site.run(5)
    (share,) = site.lrms.shares.values()
    site.lrms.unplace(site.job(number).vm_id)
    site.bait.heartbeat()
    assert list(site.lrms.shares.values()) == [share]
    site.lrms.finish(number)
    site.run(10)
    nothing_left(site)


def test_a_job_that_has_no_vm_yet_and_lost_its_share_goes_back() -> None:
    site = Site()
    number, _ = site.dispatch()
    site.lrms.unplace(site.job(number).vm_id)
    site.bait.heartbeat()
    site.run(5)
    job = site.job(number)
    assert (job.outcome, job.reason, job.crowded, job.failed) == (
        JobState.RETURNED,
        "its placeholder ended",
        1,
        False,
    )


def test_a_waiting_vm_whose_placeholder_is_gone_leaves_and_another_comes() -> None:
    site = pooled(flavour(1))
    (first,) = site.waiting()
    site.lrms.unplace(first.id)
    site.bait.heartbeat()
    site.run(60)
    (second,) = site.waiting()
    assert second.id != first.id
    assert set(site.lrms.holders) == {second.id}


def test_a_node_without_room_costs_no_attempt_however_often() -> None:
    site = Site()
    site.lrms.taken = site.lrms.room().total
    number, pauses = site.lrms.submit(), []
    site.lrms.change(number, fixed={**site.lrms.table[number].fixed, "Features": "vm_a_b_c"}, tag="a_b_c")
    for _ in range(5):
        site.bait.dispatch(site.lrms.dispatch(number))
        site.lrms.waiting.add(site.job(number).placeholder)
        site.run(site.config.place_timeout_s + 10)
        assert site.job(number).outcome is JobState.RETURNED
        pauses.append(site.lrms.delays[number])
    assert (site.job(number).attempt, site.job(number).crowded) == (1, 5)
    assert pauses == sorted(pauses) and pauses[-1] > 200
    assert site.hypervisor.vms == {}
