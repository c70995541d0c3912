# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On a real Slurm: whoever puts a virtual job back into the queue, it runs on VMs and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.libvirt_fixture import until
from tests.integration.private_slurm import PrivateSlurm
from tests.integration.slurm_bait import VIRTUAL, Site, baited, stream
from wnodes.model.states import JobState

#: a way from the queue to a VM, quarantine included
WAY_S = 60.0

REQUEUES, JOBS_AT_ONCE = 200, 5


@pytest.fixture
def busy(site: Site) -> Iterator[Site]:
    """Return a site whose node starts real jobs all the time."""
    with stream(site.slurm):
        yield site


@pytest.mark.parametrize("user", ["alice", pytest.param("root", marks=pytest.mark.long)])
def test_a_job_that_is_requeued_while_it_runs_runs_on_a_vm_again(busy: Site, user: str) -> None:
    slurm = busy.slurm
    jobs = [slurm.submit(*VIRTUAL, seconds=100) for _ in range(3)]
    for run in (1, 2, 3):
        for job in jobs:
            busy.until_runs(job, run, WAY_S)
        if run < 3:
            for job in jobs:
                # until then its VM would take it again as soon as it has left
                until("its VM closed", lambda job=job: busy.records(job)[-1].sealed)
                slurm.ask("scontrol", "requeue", job, user=user)
                slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now", user=user)
    for job in jobs:
        assert busy.bare(job) == [], busy.told(job)
    assert busy.bait.bare.count == 0


def test_a_job_whose_node_is_set_down_runs_on_a_vm_again(busy: Site) -> None:
    job = busy.slurm.submit(*VIRTUAL, seconds=100)
    host = busy.until_runs(job)[0]
    busy.slurm.ask("scontrol", "update", f"NodeName={host}", "State=DOWN", "Reason=test")
    busy.until_runs(job, 2, WAY_S)
    assert busy.bare(job) == [], busy.told(job)


def test_tasks_that_wait_for_each_other_run_on_vms_and_none_waits_in_its_vm(slurm: PrivateSlurm) -> None:
    # a task lasts longer than a VM waits for one that does not come
    with baited(slurm, join_timeout_s=3.0) as site, stream(slurm):
        job = slurm.submit(*VIRTUAL, "--array=1-4%1", seconds=5)
        tasks = {task: f"{job}_{task}" for task in range(1, 5)}
        until("all tasks' end", lambda: {slurm.squeue(task, "State") for task in tasks.values()} == {"COMPLETED"}, 120)
        runs = {task: slurm.runs(number) for task, number in tasks.items()}
        assert {task: len(nodes) for task, nodes in runs.items()} == dict.fromkeys(range(1, 5), 1)
        assert [node for nodes in runs.values() for node in nodes if not node.startswith("vwn-")] == []
        assert len(site.vms()) == len(tasks)


def test_a_job_whose_features_change_while_it_is_held_gets_the_vm_that_it_asks_for(busy: Site) -> None:
    busy.hypervisor.auto_ready = False
    job = busy.slurm.submit(*VIRTUAL, seconds=0)
    busy.until_in(job, JobState.VM_REQUESTED)
    busy.slurm.ask("scontrol", "update", f"JobId={job}", "Features=vm_b_debian12_x86_64", user="alice")
    busy.hypervisor.auto_ready = True
    for vm in busy.vms():
        busy.hypervisor.boot(vm)
    until("its end", lambda: busy.slurm.squeue(job, "State") == "COMPLETED", WAY_S)
    assert busy.bare(job) == [], busy.told(job)
    assert busy.records(job)[-1].request.tag == "b_debian12_x86_64"


@pytest.mark.long
def test_of_200_requeues_under_a_stream_of_short_jobs_none_leads_to_the_node_itself(busy: Site) -> None:
    slurm = busy.slurm
    jobs = [slurm.submit(*VIRTUAL, seconds=10_000) for _ in range(JOBS_AT_ONCE)]
    rounds = REQUEUES // JOBS_AT_ONCE
    for run in range(1, rounds + 2):
        for job in jobs:
            busy.until_runs(job, run, 2 * WAY_S)
            if run <= rounds:
                slurm.ask("scontrol", "requeue", job, user="alice")
    assert {job: busy.bare(job) for job in jobs} == {job: [] for job in jobs}
    assert busy.bait.bare.count == 0
