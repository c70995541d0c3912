# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs that wait, on a real Slurm."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.libvirt_fixture import until
from tests.integration.private_slurm import PrivateSlurm
from tests.integration.slurm_bait import TAGS, VIRTUAL, Site, baited
from wnodes.bait.config import PoolConfig, PoolFlavour
from wnodes.model.pool import PoolState
from wnodes.model.states import VmState

#: what ``VIRTUAL`` asks for
FLAVOUR = PoolFlavour(TAGS[0], 1, 100, waiting=2)


def waiting(site: Site) -> list[str]:
    """Return the VMs that wait."""
    return sorted(vm.id for vm in site.bait.pool.all() if vm.state is PoolState.WAITING)


@pytest.fixture
def pooled(slurm: PrivateSlurm) -> Iterator[Site]:
    """A bait with as many VMs as shall wait."""
    with baited(slurm, pool=PoolConfig((FLAVOUR,))) as site:
        until("the VMs wait", lambda: len(waiting(site)) == FLAVOUR.waiting, 60)
        yield site


@pytest.mark.long
def test_while_munge_is_away_vms_that_wait_stay(pooled: Site) -> None:
    before = waiting(pooled)
    pooled.slurm.stop_munge()
    try:
        until("word of it", lambda: any("lrms" in problem for problem in pooled.bait.status()["problems"]))
        for _ in range(3):
            for vm in before:
                pooled.bait.pool.reconciler.run_now(vm)
    finally:
        pooled.slurm.start_munge()
    job = pooled.slurm.submit(*VIRTUAL)
    (host,) = pooled.until_runs(job, limit_s=60)
    assert host in {vm.name for vm in pooled.vms() if vm.id in before}
    assert [vm for vm in pooled.vms(VmState.GONE) if vm.id in before] == []
