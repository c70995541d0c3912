# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second net on a real Slurm, whose slurmd leaves the prolog out for a job that it had a moment ago."""

from __future__ import annotations

import pytest

from tests.integration.libvirt_fixture import until
from tests.integration.private_slurm import RELEASE
from tests.integration.slurm_bait import VIRTUAL, Site, stream

JOBS, ROUNDS = 4, 8


# Without the quarantine 24.11 was not seen to start a job bare, so there is nothing there for the net to catch.
@pytest.mark.skipif(RELEASE != "bookworm", reason="seen on 22.05 only")
def test_a_job_that_slurmd_starts_without_its_prolog_is_stopped_and_gets_its_vm(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm, net = site.slurm, site.bait.bare
    with stream(slurm):
        jobs = [slurm.submit(*VIRTUAL, seconds=100) for _ in range(JOBS)]
        with monkeypatch.context() as patch:
            patch.setattr(site.bait.lrms, "quarantine_s", lambda: 0.0)
            for run in range(1, ROUNDS + 1):
                for job in jobs:
                    site.until_runs(job, run, 60)
                bare = [job for job in jobs if site.bare(job)]
                if bare:  # not put back by us, too, before the net has seen them
                    break
                for job in jobs:
                    slurm.run("scontrol", "requeue", job, user="alice")
        assert bare, f"slurmd has asked {ROUNDS * JOBS} times: the first net alone would do"
        for job in bare:
            until("its run on a VM", lambda job=job: slurm.squeue(job, "NodeList").startswith("vwn-"), 60)
            lines = [line for line in slurm.log("hv1").splitlines() if f"JOB {job} ON hv1 CANCELLED" in line]
            assert len(lines) >= len(site.bare(job))
    assert net.count >= len(bare)
    assert any("began on the node itself" in problem for problem in site.bait.status()["problems"])
