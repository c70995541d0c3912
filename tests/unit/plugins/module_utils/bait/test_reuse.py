# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A used VM waits for its user alone, for a limited time and number of jobs, and only where the site chose that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.bait.bait_fixture import TAG, Killed, Site, killed, nothing_left
from wnodes.bait.config import PoolConfig
from wnodes.bait.reuse import may_wait_again
from wnodes.lrms.base import HostState
from wnodes.model.states import JobState, VmState


def site_with(path: str = ":memory:", **settings: object) -> Site:
    return Site(path, pool=PoolConfig(**settings))  # type: ignore[arg-type]


def ran(site: Site, user: str = "alice") -> str:
    """Run a job of ``user`` to its end; return its id."""
    number = site.lrms.submit(user=user, tag=TAG)
    site.bait.dispatch(site.lrms.dispatch(number))
    site.run(10)
    host = site.lrms.table[number].host
    assert host.startswith("vwn-")
    site.lrms.finish(number)
    site.lrms.hosts[host].state = HostState.READY
    site.run(5)
    assert site.job(number).outcome is JobState.FINISHED
    return number


def test_by_default_no_vm_sees_a_second_job() -> None:
    site = site_with()
    number = ran(site)
    assert not may_wait_again(site.config.pool, site.job(number), None, site.clock.now())
    nothing_left(site)


def test_the_same_user_gets_the_vm_again_and_nobody_else_does() -> None:
    site = site_with(reuse_s=600.0)
    first = site.job(ran(site))
    (vm,) = site.waiting()
    assert (vm.id, vm.user) == (first.vm_id, "alice")
    assert site.lrms.hosts[vm.host].user == "root", "nobody may go there but by us"
    assert site.job(ran(site, "bob")).host != first.host
    again = site.job(ran(site))
    assert (again.path, again.host, again.vm_id) == ("reuse", first.host, first.vm_id)


def test_it_goes_when_its_time_is_over_or_it_has_run_enough_jobs() -> None:
    site = site_with(reuse_s=100.0)
    ran(site)
    site.run(150)
    nothing_left(site)
    site = site_with(reuse_s=6000.0, reuse_jobs=2)
    first, second = site.job(ran(site)), site.job(ran(site))
    assert first.host == second.host
    nothing_left(site)


def test_a_drained_node_keeps_no_used_vm() -> None:
    site = site_with(reuse_s=600.0)
    ran(site)
    site.lrms.drained = True
    site.run(20)
    nothing_left(site)


def test_a_vm_that_died_with_its_job_is_not_used_again() -> None:
    site = site_with(reuse_s=600.0)
    number, _ = site.dispatch()
    site.run(5)
    site.hypervisor.put(site.job(number).id, VmState.BROKEN, "QEMU died")
    site.lrms.finish(number)
    site.run(10)
    nothing_left(site)


def test_killed_between_the_job_and_the_pool_one_of_them_has_the_vm(tmp_path: Path) -> None:
    site = site_with(str(tmp_path / "bait.db"), reuse_s=600.0)
    site.failpoints.set("bait.reuse", killed)
    with pytest.raises(Killed):
        ran(site)
    (job,) = site.bait.journal.active()
    site.restart()
    site.run(10)
    (vm,) = site.waiting()
    assert vm.id == job.vm_id
    assert set(site.lrms.holders) == {vm.id}
