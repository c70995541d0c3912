# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On a real Slurm: jobs of a bait that is gone for ever."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import pytest

from tests.integration.libvirt_fixture import until
from tests.integration.private_slurm import PrivateSlurm
from tests.integration.slurm_bait import VM, Site, baited
from wnodes.model.states import JobState

#: after so many seconds slurmctld hears no more of a node that is dead
PING_S = 2.0


@pytest.fixture
def stranded(slurm: PrivateSlurm) -> Iterator[str]:
    """A job that waits for its VM on a node that dies with its bait and is never seen again."""
    with baited(slurm) as site:
        site.hypervisor.auto_ready = False
        job = slurm.submit("-C", VM, "--mem=100")
        site.until_in(job, JobState.VM_REQUESTED)
    slurm.kill_machine("hv1")
    down_since = math.inf

    def is_down() -> bool:
        nonlocal down_since
        if not slurm.node("hv1")["State"].startswith("DOWN"):  # an answer to the last ping was still under way
            slurm.ask("scontrol", "update", "NodeName=hv1", "State=DOWN", "Reason=dead")
            down_since = time.monotonic()
        return time.monotonic() - down_since > PING_S

    until("the node's end", is_down)
    yield job
    if "hv1" not in slurm.machines():
        slurm.start_node("hv1")


def run_of(site: Site, job: str) -> str:
    """Return where a job runs first once the bait of ``site`` has looked for jobs of dead ones."""
    until("the bait is known", lambda: site.nameserver.last is not None)
    for _ in range(2):
        site.bait.rescue.look()
    return site.until_runs(job)[0]


def test_a_job_whose_node_died_while_its_vm_was_made_runs_on_another_node(slurm: PrivateSlurm, stranded: str) -> None:
    with baited(slurm, "hv2") as site:
        assert run_of(site, stranded).startswith("vwn-")


@pytest.mark.long
def test_a_node_that_was_installed_anew_brings_its_own_jobs_back(slurm: PrivateSlurm, stranded: str) -> None:
    slurm.start_node("hv1")
    until("its slurmd", lambda: slurm.node("hv1")["State"] == "IDLE")
    slurm.ask("scontrol", "update", "NodeName=hv2", "State=DRAIN", "Reason=test")  # it has images and no bait
    with baited(slurm) as site:
        assert run_of(site, stranded).startswith("vwn-")
