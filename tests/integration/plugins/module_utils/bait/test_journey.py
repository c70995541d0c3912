# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On a real Slurm: what users ask for and do on the way to their VM."""

from __future__ import annotations

import pytest

from tests.integration.libvirt_fixture import until
from tests.integration.slurm_bait import VIRTUAL, VM, Site
from wnodes.model.states import JobState, VmState

ON_HV1 = ("-w", "hv1", "--mem=100")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((*ON_HV1, "-C", f"{VM}&bait"), id="and"),
        pytest.param((*ON_HV1, "-C", f"[{VM}|vm_b_debian12_x86_64]"), id="matching or"),
        pytest.param((*VIRTUAL, "-p", "main,long"), id="partitions"),
        pytest.param(("-w", "hv1", "-C", VM, "--mem=500", "-c", "2"), id="two cpus"),
        pytest.param((*VIRTUAL, "-L", "idl:1"), id="licence"),
        pytest.param((*VIRTUAL, "--comment=gr\udcfc\udcdf \udcff"), id="bytes that are no text"),
    ],
)
def test_a_job_gets_its_vm(site: Site, options: tuple[str, ...]) -> None:
    job = site.slurm.submit(*options)
    record = site.until_in(job, JobState.CLOSED, limit_s=60)
    assert site.slurm.runs(job) == [record.host], site.told(job)
    assert len(site.vms()) == 1


def test_a_maintenance_far_away_keeps_no_job_from_its_vm(site: Site) -> None:
    site.slurm.ask(
        *("scontrol", "create", "reservation", "ReservationName=maint", "StartTime=now+30days", "Duration=60"),
        *("Nodes=hv1", "Users=bob", "Flags=MAINT"),
    )
    job = site.slurm.submit(*VIRTUAL, "--time=5")
    assert site.until_runs(job)[0].startswith("vwn-")


def test_a_job_in_a_reservation_of_its_users_runs_on_a_vm_beside_it(site: Site) -> None:
    site.slurm.ask(
        *("scontrol", "create", "reservation", "ReservationName=course", "StartTime=now", "Duration=60"),
        *("Nodes=hv1", "Users=alice"),
    )
    job = site.slurm.submit(*VIRTUAL, "--reservation=course", "--time=5")
    assert site.until_runs(job)[0].startswith("vwn-")


def test_several_partitions_are_given_back(site: Site) -> None:
    job = site.slurm.submit(*VIRTUAL, "-p", "main,long", seconds=60)
    site.until_in(job, JobState.RUNNING)
    site.slurm.ask("scontrol", "requeue", job)
    site.until_in(job, JobState.CLOSED)
    assert site.slurm.job(job)["Partition"] == "main,long"


def test_a_job_that_its_owner_requeues_and_holds_stays_held(site: Site) -> None:
    job = site.slurm.submit(*VIRTUAL, seconds=60)
    site.until_in(job, JobState.RUNNING)
    site.slurm.ask("scontrol", "requeuehold", job, user="alice")
    site.until_in(job, JobState.CLOSED)
    shown = site.slurm.job(job)
    assert (shown["JobState"], shown["Priority"], shown["Partition"]) == ("PENDING", "0", "main")


def test_a_limit_that_changes_while_the_vm_is_made_stays(site: Site) -> None:
    site.hypervisor.auto_ready = False
    job = site.slurm.submit(*VIRTUAL, seconds=60)
    site.until_in(job, JobState.VM_REQUESTED)
    until("its VM", site.vms)
    site.slurm.ask("scontrol", "update", f"JobId={job}", "TimeLimit=7", user="alice")
    site.hypervisor.boot(site.vms()[0])
    site.until_runs(job)
    assert site.slurm.job(job)["TimeLimit"] == "00:07:00"


def test_while_munge_is_away_nothing_is_destroyed_and_the_job_goes_on(site: Site) -> None:
    site.hypervisor.auto_ready = False
    job = site.slurm.submit(*VIRTUAL)
    site.until_in(job, JobState.VM_REQUESTED)
    until("its VM", site.vms)
    site.slurm.stop_munge()
    try:
        until("word of it", lambda: any("lrms" in problem for problem in site.bait.status()["problems"]))
        site.hypervisor.boot(site.vms()[0])
        until("a step without Slurm", lambda: bool(site.bait._errors))
    finally:
        site.slurm.start_munge()
    assert [vm.state for vm in site.vms()] in ([VmState.READY], [VmState.IN_USE])
    site.until_in(job, JobState.CLOSED, limit_s=60)
    assert [len(site.records(job)), len(site.vms()), site.bare(job)] == [1, 1, []]


def test_a_placeholder_that_somebody_cancels_is_placed_again(site: Site) -> None:
    job = site.slurm.submit(*VIRTUAL, seconds=60)
    site.until_runs(job)
    number = site.records(job)[-1].placeholder
    site.slurm.ask("scancel", number)
    until("another one", lambda: set(site.bait.lrms.placeholders().values()) - {number} != set(), 20)
    assert site.state(job) is JobState.RUNNING
