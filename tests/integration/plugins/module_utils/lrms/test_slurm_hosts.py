# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs as nodes of a real Slurm: one job and no more."""

from __future__ import annotations

import pytest

from tests.integration.libvirt_fixture import until
from tests.integration.slurm_bait import VIRTUAL, Site
from wnodes.model.states import JobState, VmState


def squat(site: Site, host: str, *options: str) -> str:
    """Submit a job of the same user's to a VM that has one of hers already, and return its id."""
    return site.slurm.submit("-p", "wnvm", f"--reservation=wn_{host}", "--mem=10", *options, seconds=30)


def test_no_second_job_gets_into_a_vm_while_it_has_one(site: Site) -> None:
    first = site.slurm.submit(*VIRTUAL, seconds=60)
    host = site.until_in(first, JobState.RUNNING).host
    until("its seal", lambda: site.records(first)[-1].sealed)
    refused = site.slurm.run("sbatch", "-p", "wnvm", f"--reservation=wn_{host}", "--wrap", "true", user="alice").rc
    second = "" if refused else squat(site, host)
    site.slurm.end(first)
    site.until_in(first, JobState.CLOSED)
    assert second == "" or site.slurm.runs(second) == []
    assert site.slurm.node(host) == {}
    assert site.vms()[0].state is VmState.GONE


def test_a_job_that_got_in_before_goes_with_the_vm(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds: list[str] = []
    close = site.bait.lrms.close_host

    def late(host: str) -> None:
        if not seconds:
            seconds.append(squat(site, host))
        close(host)

    monkeypatch.setattr(site.bait.lrms, "close_host", late)
    first = site.slurm.submit(*VIRTUAL, seconds=60)
    until("its seal", lambda: any(job.sealed for job in site.records(first)))
    site.slurm.end(first)
    host = site.until_in(first, JobState.CLOSED).host
    assert site.slurm.squeue(seconds[0], "State") in ("", "CANCELLED")
    assert site.slurm.runs(seconds[0]) == []
    assert site.slurm.node(host) == {}
    assert "ReservationName" not in site.slurm.run("scontrol", "show", "reservation").stdout
