# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real slurmd writes into its folder is read as it is meant."""

from __future__ import annotations

from tests.integration.libvirt_fixture import until
from tests.integration.slurm_bait import VIRTUAL, Site
from wnodes.lrms.slurm_daemon import STATE_FILE, revoked
from wnodes.model.states import JobState


def test_a_stopped_job_stands_among_those_that_slurmd_must_not_start(site: Site) -> None:
    site.hypervisor.auto_ready = False
    job = site.slurm.submit(*VIRTUAL)
    site.until_in(job, JobState.VM_REQUESTED)
    known = revoked((site.slurm.spool("hv1") / STATE_FILE).read_bytes())
    assert known is not None
    assert int(job) in known


def test_a_job_that_runs_here_is_present_until_its_end(site: Site) -> None:
    job = site.slurm.submit("-w", "hv1", "--mem=10", seconds=60)
    site.until_runs(job)
    assert job in site.bait.lrms.present().values()
    site.slurm.end(job)
    until("its end", lambda: job not in site.bait.lrms.present().values())
