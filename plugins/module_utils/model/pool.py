# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs that wait for jobs: what each is, and how many there should be."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Callable, Dict, Iterable, List, Mapping, Sequence, Tuple

from .job import JobRequest
from .resources import Resources
from .states import PoolState, check_move


@dataclass(frozen=True)
class PoolVm:
    """A VM that waits, as its bait keeps it.

    :param id: request id
    :param request: what a job must ask for to get it
    :param since: when it came into its state, in seconds since the epoch
    :param host: its host name once it is known
    :param digest: of its image, once it is known
    :param placeholder: the LRMS's id of what will take its share of the node
    :param joined: whether its host may be in the LRMS
    :param job: request id of the job that took it
    :param user: the only one who may have it, because jobs of theirs ran there; empty: it is pristine
    :param uses: how many jobs ran there
    :param offered: whether the LRMS may send a job straight to it
    :param born: when it was asked for, in seconds since the epoch
    """

    id: str
    request: JobRequest
    state: PoolState
    since: float
    born: float
    host: str = ""
    address: str = ""
    digest: str = ""
    placeholder: str = ""
    joined: bool = False
    job: str = ""
    user: str = ""
    uses: int = 0
    offered: bool = False
    reason: str = ""

    def moved(self, state: PoolState, at: float, reason: str = "") -> PoolVm:
        """Return this VM in ``state`` from ``at`` on; raise StateError where the tables forbid it."""
        check_move(self.state, state, f"waiting VM {self.id}")
        return replace(self, state=state, since=at, reason=reason or self.reason)


def fits(there: JobRequest, asked: JobRequest) -> bool:
    """Return whether a VM made for ``there`` is right for a job that asks ``asked``: no smaller, and as many CPUs."""
    has, needs = there.resources, asked.resources
    return (
        (there.tag, there.mounts, has.cpus) == (asked.tag, asked.mounts, needs.cpus)
        and has.memory_mib >= needs.memory_mib
        and has.scratch_mib >= needs.scratch_mib
    )


def peak(times: Iterable[float], window_s: float) -> int:
    """Return the largest number of ``times`` (seconds) within any ``window_s`` seconds."""
    ordered, most, first = sorted(times), 0, 0
    for index, time in enumerate(ordered):
        while time - ordered[first] > window_s:
            first += 1
        most = max(most, index - first + 1)
    return most


def learnt(
    arrivals: Iterable[Tuple[float, JobRequest]], now: float, horizon_s: float, window_s: float, most: int
) -> Dict[JobRequest, int]:
    """Return how many VMs would have been enough lately: the most jobs that came while one VM is made.

    :param arrivals: when jobs came (seconds since the epoch) and what they asked for
    :param horizon_s: how long a job is remembered
    :param window_s: how long it takes to make a VM
    :param most: the limit for each kind
    """
    times: Dict[JobRequest, List[float]] = {}
    for at, request in arrivals:
        if now - at <= horizon_s:
            times.setdefault(request, []).append(at)
    return {request: min(most, peak(seen, window_s)) for request, seen in times.items() if most > 0}


@dataclass(frozen=True)
class Plan:
    """What makes the pool as it should be: requests of VMs to make, ids of VMs that have to go and why."""

    make: Tuple[JobRequest, ...] = ()
    leave: Tuple[Tuple[str, str], ...] = ()


_NEARNESS = {PoolState.WAITING: 0, PoolState.JOINING: 1, PoolState.COMING: 2, PoolState.LEAVING: 3}


def plan(
    targets: Mapping[JobRequest, int],
    there: Sequence[PoolVm],
    free: Resources,
    charge: Callable[[Resources], Resources],
) -> Plan:
    """Return what to do. VMs that wait have only what jobs leave free, and those nearest to be ready stay.

    :param there: VMs that wait or will, and those that leave: they have their room until they are gone
    :param free: CPUs and memory (MiB) of the node that no job has
    :param charge: what a VM for a request of this size takes of it
    """
    leave: List[Tuple[str, str]] = []
    kept: List[PoolVm] = []
    count: Counter[JobRequest] = Counter()
    cpus, memory = free.cpus, free.memory_mib
    for vm in sorted(there, key=lambda vm: (_NEARNESS[vm.state], vm.born, vm.id)):
        needs = charge(vm.request.resources)
        if vm.state is PoolState.LEAVING:
            cpus, memory = cpus - needs.cpus, memory - needs.memory_mib
        elif not vm.user and count[vm.request] >= targets.get(vm.request, 0):
            leave.append((vm.id, "no more are wanted" if count[vm.request] else "none is wanted"))
        elif needs.cpus > cpus or needs.memory_mib > memory:
            leave.append((vm.id, "jobs need its room"))
        else:
            kept.append(vm)
            count[vm.request] += not vm.user
            cpus, memory = cpus - needs.cpus, memory - needs.memory_mib
    make: List[JobRequest] = []
    while True:
        lacking = [request for request, target in targets.items() if count[request] < target]
        lacking = [r for r in lacking if charge(r.resources).cpus <= cpus and charge(r.resources).memory_mib <= memory]
        if not lacking:
            return Plan(tuple(make), tuple(leave))
        # the emptiest first
        request = min(lacking, key=lambda r: (count[r] / targets[r], -targets[r], r.tag, r.resources.memory_mib))
        make.append(request)
        count[request] += 1
        needs = charge(request.resources)
        cpus, memory = cpus - needs.cpus, memory - needs.memory_mib


def refill_s(seconds: Sequence[float], otherwise: float) -> float:
    """Return how long it takes to make a VM, judged by how long the last ones took (95th percentile)."""
    if not seconds:
        return otherwise
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, math.ceil(0.95 * len(ordered)) - 1)]
