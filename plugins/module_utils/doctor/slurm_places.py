# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm's partitions, and this node in Slurm."""

from __future__ import annotations

from typing import Dict, Iterator, Mapping

from ..lrms.base import HostState
from ..lrms.slurm_commands import SlurmConfig
from ..lrms.slurm_hosts import OFFERED_FEATURE, OFFERED_WEIGHT, REASON
from ..lrms.slurm_text import fields, host_state, node_reason
from ..model.errors import CommandFailed
from .check import NODE, Check, Finding, Wanted, failure, first_line, ok, skipped, warning
from .machine import Machine
from .slurm import Config, one, partitions, refused, settings_of, where_slurm_answers

Partitions = Mapping[str, Mapping[str, str]]
DOCS = "see docs/site.md, Slurm configuration"
OFFERED = "see docs/site.md, Offered VMs in Slurm"


def partitions_of(machine: Machine) -> Dict[str, Dict[str, str]]:
    """Return the fields of all partitions by name."""
    return partitions(machine.told("scontrol", "show", "-a", "-o", "partition"))


def use_of(wanted: Wanted) -> SlurmConfig:
    """Return how the node uses Slurm, or how one would by default."""
    return wanted.bait.slurm if wanted.bait is not None else SlurmConfig("any")


def _expect(name: str, partition: Mapping[str, str], cure: str, **settings: str) -> Iterator[Finding]:
    for key, value in settings.items():
        seen = partition.get(key, "")
        if seen.upper() != value.upper():
            yield failure(
                f"partition {name}", f"{key}={seen}", f"must have {key}={value}", f"correct slurm.conf: {cure}"
            )


def _root_may(name: str, partition: Mapping[str, str], cure: str) -> Iterator[Finding]:
    if partition.get("DisableRootJobs", "").upper() == "YES":
        reason = "placeholders are jobs of root"
        yield failure(f"partition {name}", "DisableRootJobs=YES", reason, f"take it out of slurm.conf: {cure}")


def _missing(name: str, cure: str) -> Finding:
    return failure(
        f"partition {name}", "", "is not there", f"add it to slurm.conf, or name yours in bait_slurm; {cure}"
    )


def partition_settings(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    yield from judge_partitions(partitions_of(machine), use_of(wanted))


def judge_partitions(found: Partitions, use: SlurmConfig) -> Iterator[Finding]:
    """Judge the partitions of VMs and of placeholders."""
    vms, holds = found.get(use.vm_partition), found.get(use.placeholder_partition)
    if vms is None:
        yield _missing(use.vm_partition, DOCS)
    else:
        yield from _expect(use.vm_partition, vms, DOCS, State="UP", ReqResv="YES", RootOnly="NO")
        if not vms.get("NodeSets") and not vms.get("Nodes"):
            reason = "has no nodes: VMs come into it by a node set of the feature wnvm"
            yield failure(f"partition {use.vm_partition}", "", reason, DOCS)
    if holds is None:
        yield _missing(use.placeholder_partition, DOCS)
        return
    yield from _expect(use.placeholder_partition, holds, DOCS, State="UP", RootOnly="YES", MaxTime="UNLIMITED")
    yield from _root_may(use.placeholder_partition, holds, DOCS)
    tier = _tier(holds)
    others = {name: _tier(one) for name, one in found.items() if name != use.placeholder_partition}
    higher = sorted(name for name, other in others.items() if other >= tier)
    if higher:
        yield failure(
            f"partition {use.placeholder_partition}",
            f"PriorityTier={tier}",
            f"must be above all others: jobs of {', '.join(higher)} could take a VM's share of a node first",
            f"raise it in slurm.conf: {DOCS}",
        )


def _tier(partition: Mapping[str, str]) -> int:
    return int(partition.get("PriorityTier", "") or 0)


def offer(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    if wanted.bait is None or not wanted.bait.pool.offer:
        yield skipped("offered VMs", "bait_pool.offer is off here")
        return
    yield from judge_offer(settings_of(machine), partitions_of(machine), use_of(wanted))
    weight = int(_node(machine, wanted).get("Weight", "") or 1)
    if weight <= OFFERED_WEIGHT:
        yield failure(
            f"node {use_of(wanted).node}",
            f"Weight={weight}",
            "offered VMs must be chosen before it",
            f"set Weight=100: {OFFERED}",
        )


def judge_offer(settings: Config, found: Partitions, use: SlurmConfig) -> Iterator[Finding]:
    """Judge what VMs need that Slurm shall send jobs to by itself, and what keeps everybody else's jobs safe."""
    plugin, mode = one(settings, "PreemptType"), one(settings, "PreemptMode")
    if plugin != "preempt/partition_prio":
        cure = f"set PreemptType=preempt/partition_prio: {OFFERED}"
        yield failure("PreemptType", plugin, "offered VMs give way by preemption", cure)
    if "CANCEL" not in mode.upper():
        yield failure("PreemptMode", mode, "must be on for the cluster", f"set PreemptMode=CANCEL: {OFFERED}")
    offers = found.get(use.offer_partition)
    if offers is None:
        yield _missing(use.offer_partition, OFFERED)
    else:
        wants = {"RootOnly": "YES", "PriorityTier": "0", "PreemptMode": "CANCEL", "MaxTime": "UNLIMITED", "State": "UP"}
        yield from _expect(use.offer_partition, offers, OFFERED, **wants)
        yield from _root_may(use.offer_partition, offers, OFFERED)
    others = {name: partition for name, partition in found.items() if name != use.offer_partition}
    for name, partition in others.items():
        if partition.get("PreemptMode", "").upper() != "OFF":
            seen = f"PreemptMode={partition.get('PreemptMode', '')}"
            reason = "its jobs would be cancelled for those of a partition with a higher PriorityTier"
            yield failure(f"partition {name}", seen, reason, f"set PreemptMode=OFF there: {OFFERED}")
        if _tier(partition) < 1:
            yield failure(f"partition {name}", "PriorityTier=0", "its jobs preempt no VM", f"set 1 or more: {OFFERED}")
    if not any(OFFERED_FEATURE in partition.get("NodeSets", "").split(",") for partition in others.values()):
        yield failure(
            f"node set {OFFERED_FEATURE}",
            "",
            "belongs to no partition: nobody's job can be sent to offered VMs",
            f"add it to Nodes of the users' partitions: {OFFERED}",
        )


def _node(machine: Machine, wanted: Wanted) -> Dict[str, str]:
    return fields(machine.told("scontrol", "show", "-o", "node", use_of(wanted).node))


def node(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    name = use_of(wanted).node
    try:
        shown = machine.told("scontrol", "show", "-o", "node", name)
    except CommandFailed as error:
        cure = "add a NodeName line to slurm.conf; where Slurm knows it by another name, set bait_slurm.node"
        yield failure(f"node {name}", "", f"is not known to Slurm: {first_line(refused(error))}", cure)
        return
    yield from judge_node(name, shown, use_of(wanted))


def judge_node(name: str, shown: str, use: SlurmConfig) -> Iterator[Finding]:
    """Judge ``scontrol show -o node``."""
    seen = fields(shown)
    state, reason = seen.get("State", ""), node_reason(shown)
    if _is_silent(state):
        reason = "does not answer slurmctld at this moment; until it does Slurm gives it no new jobs"
        yield warning(f"node {name}", state, reason, "look again; `systemctl status slurmd` here if it stays so")
    elif host_state(state) in (HostState.DOWN, HostState.JOINING):
        cure = "`systemctl status slurmd` here; `sinfo -R` tells the reason"
        yield failure(f"node {name}", state, f"Slurm gives it no jobs: {reason or 'slurmd does not answer'}", cure)
    elif "DRAIN" in state:
        cure = "it opens by itself" if reason.startswith(REASON) else f"`scontrol update NodeName={name} State=RESUME`"
        yield warning(f"node {name}", state, f"is closed: {reason}", cure)
    there = seen.get("Partitions", "").split(",")
    if use.placeholder_partition not in there:
        yield failure(
            f"node {name}",
            ",".join(there),
            f"is not in partition {use.placeholder_partition}: no VM could be put on its books",
            f"add it to the Nodes of {use.placeholder_partition} in slurm.conf",
        )
    yield ok(f"node {name}", state)


def _is_silent(state: str) -> bool:
    """Whether a node that is up missed one of slurmctld's calls: that passes, or Slurm calls it down."""
    missed = state.endswith("*") or "NOT_RESPONDING" in state
    return missed and not {"DOWN", "FAIL", "UNKNOWN"} & set(state.rstrip("*").split("+"))


CHECKS = (
    Check("slurm.partitions", "partitions of VMs and of placeholders", where_slurm_answers(partition_settings)),
    Check("slurm.offer", "preemption and partitions for VMs that are offered", where_slurm_answers(offer), (NODE,)),
    Check("slurm.node", "this node in Slurm: known, open, in its partitions", where_slurm_answers(node), (NODE,)),
)
