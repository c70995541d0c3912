# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Partitions and the node in Slurm."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.doctor.machine_fixture import (
    RELEASES,
    Recorded,
    bad,
    failing,
    node,
    only,
    outcomes,
    recorded,
    with_pool,
)
from wnodes.doctor.check import CheckOutcome, Finding, Wanted


def line_of(name: str, text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"PartitionName={name} "))


def spoiled(release: str, name: str, old: str, new: str) -> Recorded:
    """Return a node one of whose partitions is different; an empty ``old`` takes it away."""
    machine, shown = Recorded(release), recorded("partitions", release)
    line = line_of(name, shown)
    assert old in line
    machine.says["scontrol show -a -o partition"] = shown.replace(line, line.replace(old, new) if old else "")
    return machine


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("wnvm", "", "", "is not there"),
        ("wnvm", "ReqResv=YES", "ReqResv=NO", "must have ReqResv=YES"),
        ("wnvm", "RootOnly=NO", "RootOnly=YES", "must have RootOnly=NO"),
        ("wnvm", "NodeSets=wnvms", "NodeSets=", "has no nodes"),
        ("wnhold", "", "", "is not there"),
        ("wnhold", "RootOnly=YES", "RootOnly=NO", "must have RootOnly=YES"),
        ("wnhold", "MaxTime=UNLIMITED", "MaxTime=1-00:00:00", "must have MaxTime=UNLIMITED"),
        ("wnhold", "PriorityTier=1000", "PriorityTier=1", "must be above all others: jobs of main, wnvm"),
        ("wnhold", "State=UP", "State=DOWN", "must have State=UP"),
    ],
)
def test_a_partition_that_is_not_as_needed_is_named(release: str, name: str, old: str, new: str, says: str) -> None:
    found = only(spoiled(release, name, old, new), node(), "slurm.partitions")
    assert says in found.reason
    assert found.object == f"partition {name}"


OFFERING = with_pool(offer=True)


@pytest.mark.parametrize("release", RELEASES)
def test_a_cluster_that_is_set_up_for_offers_is_well(release: str) -> None:
    assert bad(Recorded(release), OFFERING) == {}


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("wnoffer", "", "", "is not there"),
        ("wnoffer", "DisableRootJobs=NO", "DisableRootJobs=YES", "placeholders are jobs of root"),
        ("wnoffer", "PriorityTier=0", "PriorityTier=1", "must have PriorityTier=0"),
        ("wnoffer", "PreemptMode=CANCEL", "PreemptMode=OFF", "must have PreemptMode=CANCEL"),
        ("main", "PreemptMode=OFF", "PreemptMode=CANCEL", "its jobs would be cancelled"),
        ("main", "PriorityTier=1", "PriorityTier=0", "its jobs preempt no VM"),
        ("main", "NodeSets=wndirect", "NodeSets=", "belongs to no partition"),
    ],
)
def test_what_offers_lack_is_named_where_they_are_on(name: str, old: str, new: str, says: str) -> None:
    machine = spoiled("24.11", name, old, new)
    assert says in only(machine, OFFERING, "slurm.offer").reason
    assert bad(machine, node()) == {}


def test_offers_need_preemption_and_a_node_that_is_chosen_last() -> None:
    machine = Recorded()
    shown = str(machine.says["scontrol show config"])
    machine.says["scontrol show config"] = shown.replace("preempt/partition_prio", "preempt/qos")
    assert only(machine, OFFERING, "slurm.offer").object == "PreemptType"
    machine.says["scontrol show config"] = shown.replace("= CANCEL", "= OFF")
    assert only(machine, OFFERING, "slurm.offer").object == "PreemptMode"
    machine = Recorded()
    machine.says["scontrol show -o node"] = recorded("node").replace("Weight=100", "Weight=1")
    assert only(machine, OFFERING, "slurm.offer").value == "Weight=1"


def with_node(old: str, new: str, wanted: Wanted | None = None) -> Finding:
    machine, shown = Recorded(), recorded("node")
    assert old in shown
    machine.says["scontrol show -o node"] = shown.replace(old, new)
    return only(machine, wanted or node(), "slurm.node")


@pytest.mark.parametrize("state", ["DOWN", "DOWN*", "UNKNOWN", "DOWN+NOT_RESPONDING"])
def test_a_node_that_gets_no_jobs_is_a_failure(state: str) -> None:
    found = with_node("State=IDLE", f"State={state}")
    assert found.outcome is CheckOutcome.FAILURE
    assert "slurmd does not answer" in found.reason


@pytest.mark.parametrize("state", ["IDLE*", "MIXED+NOT_RESPONDING", "IDLE+DRAIN+NOT_RESPONDING"])
def test_a_node_that_missed_a_call_is_no_failure_yet(state: str) -> None:
    found = with_node("State=IDLE", f"State={state}")
    assert (found.outcome, found.value) == (CheckOutcome.WARNING, state)


@pytest.mark.parametrize(
    "said",
    [
        "slurm_load_node error: Socket timed out on send/recv operation",
        'error: Munge encode failed: Failed to access "/run/munge/munge.socket.2": No such file or directory',
        "slurm_load_node error: Protocol authentication error",
    ],
)
def test_a_slurm_that_said_nothing_is_not_taken_for_one_that_does_not_know_the_node(said: str) -> None:
    machine = Recorded()
    machine.says["scontrol show -o node"] = failing(f"exit code 1: {said}")
    machine.says["sbatch"] = failing(f"exit code 1: sbatch: error: {said}")
    found = outcomes(machine, node())
    assert [found[check].outcome for check in ("slurm.node", "slurm.rights")] == [CheckOutcome.SKIPPED] * 2


def test_a_closed_node_is_a_warning_with_the_reason_and_who_opens_it() -> None:
    end = "AveWatts=0"
    machine, shown = Recorded(), recorded("node").rstrip().replace("State=IDLE", "State=IDLE+DRAIN")
    assert end in shown
    for reason, cure in (("disk is bad", "scontrol update NodeName=hv1"), ("wnodes: no libvirt", "opens by itself")):
        machine.says["scontrol show -o node"] = f"{shown} Reason={reason} [root@2026-11-21T19:01:26]"
        found = only(machine, node(), "slurm.node")
        assert (found.outcome, found.reason) == (CheckOutcome.WARNING, f"is closed: {reason}")
        assert cure in found.hint


def test_a_node_outside_the_placeholders_partition_or_unknown_to_slurm_is_named() -> None:
    assert "is not in partition wnhold" in with_node("Partitions=main,wnhold,wnoffer", "Partitions=main").reason
    machine = Recorded()
    machine.says["scontrol show -o node"] = failing("exit code 1: Node hv1 not found")
    found = bad(machine, node())
    assert "bait_slurm.node" in found["slurm.node"].hint
