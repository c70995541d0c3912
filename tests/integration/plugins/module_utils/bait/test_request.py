# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On a real Slurm: what no VM can give is refused before one is made, and the owner is told."""

from __future__ import annotations

import pytest

from tests.integration.libvirt_fixture import until
from tests.integration.slurm_bait import VIRTUAL, VM, Site
from wnodes.model.states import JobState


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        pytest.param((*VIRTUAL, "--gres=tape:1"), "it asks for generic resources (gres", id="gres"),
        pytest.param((*VIRTUAL, "--comment=wnodes:flavour=x"), "is not known here", id="unknown wish"),
    ],
)
def test_what_no_vm_can_give_is_refused(site: Site, options: tuple[str, ...], reason: str) -> None:
    job = site.slurm.submit(*options)
    until("the answer", lambda: site.passed(job, JobState.REFUSED))
    until("its hold", lambda: site.slurm.job(job)["Reason"] in ("JobHeldAdmin", "job_requeued_in_held_state"))
    assert reason in site.records(job)[-1].reason
    assert site.vms() == []
    assert site.slurm.runs(job) == []


def test_a_heterogeneous_job_is_refused_as_a_whole(site: Site) -> None:
    job = site.slurm.submit(*VIRTUAL, ":", "-w", "hv2", "--mem=100")
    until("the end of both parts", lambda: set(site.slurm.squeue(job, "State").split()) <= {"CANCELLED"})
    assert any("heterogeneous" in record.reason for record in site.bait.journal.all())
    assert site.vms() == []


def test_all_memory_of_a_node_is_what_the_largest_vm_has(site: Site) -> None:
    job = site.slurm.submit("-w", "hv1", "-C", VM, "--mem=0")
    record = site.until_in(job, JobState.CLOSED, limit_s=60)
    assert site.slurm.runs(job) == [record.host], site.told(job)
    (vm,) = site.vms()
    assert 14000 < vm.request.resources.memory_mib < 16000
