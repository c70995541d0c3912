# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs that are offered: on the books, giving way to jobs."""

from __future__ import annotations

from tests.unit.plugins.module_utils.bait.bait_fixture import Site, flavour, nothing_left, pooled
from tests.unit.plugins.module_utils.bait.offer_fixture import offered, sent
from wnodes.bait.offer import ROOM_S
from wnodes.model.states import JobState, VmState


def test_an_offered_vm_knows_all_users_and_is_held_on_the_books() -> None:
    site = offered()
    (vm,) = site.waiting()
    assert site.lrms.offers == {vm.id: vm.placeholder}
    assert site.lrms.holders == {}
    (setup,) = site.hypervisor.setups[vm.id]
    assert "everybody" in {file.content for file in setup.files}


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
