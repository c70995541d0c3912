# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plain way of a job, on a real Slurm and through the real hook."""

from __future__ import annotations

from tests.integration.libvirt_fixture import until
from tests.integration.slurm_bait import VIRTUAL, Site
from wnodes.model.states import JobState, VmState


def test_a_virtual_job_runs_on_its_vm_and_leaves_nothing(site: Site) -> None:
    job = site.slurm.submit(*VIRTUAL)
    record = site.until_in(job, JobState.CLOSED)
    assert site.slurm.runs(job) == [record.host]
    assert record.host.startswith("vwn-")
    assert site.slurm.squeue(job, "State") == "COMPLETED"
    assert [vm.state for vm in site.vms()] == [VmState.GONE]
    assert site.slurm.node(record.host) == {}
    assert "ReservationName" not in site.slurm.run("scontrol", "show", "reservation").stdout
    until("an end of its placeholder", lambda: site.slurm.run("squeue", "-h", "-a").stdout == "")
    assert site.slurm.node("hv1")["State"] == "IDLE"


def test_a_plain_job_runs_on_the_node(site: Site) -> None:
    job = site.slurm.submit("-w", "hv1")
    assert site.until_runs(job) == ["hv1"]
    assert site.records(job) == []
