# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the time of a job goes: one name for each part of its way, from the queue to the last of its VM's files."""

from __future__ import annotations

from typing import Dict, Optional

from .job import Job
from .resources import Resources
from .states import JobState, VmState
from .vm import Vm

#: ``Job.path`` of a job that the LRMS has sent straight to its VM
DIRECT = "direct"
#: a job's moments besides its moves: it could be started; it was let go to its VM; it ended there
QUEUED, RELEASED, ENDED = "queued", "released", "ended"

#: What each phase is, in the order in which they happen; phases that a way does not have are left out.
PHASES: Dict[str, str] = {
    "dispatch": "the batch system sends it to the node",
    "hook": "the bait decides and stops it",
    "hold": "it leaves the node, and its VM's share of the node is allocated",
    "lease": "a name and an address for its VM",
    "image": "the image is fetched and verified, and a start is its VM's turn",
    "vm_start": "its VM boots or is restored",
    "personalise": "its VM gets an identity of its own",
    "join": "its VM registers with the batch system",
    "pin": "it is pinned to its VM and released",
    "second_dispatch": "the batch system starts it there",
    "end": "the bait learns that it has ended",
    "cleanup": "its VM, and all that was made for it, is removed",
}

#: phases that come after a job's start
AFTERWARDS = ("end", "cleanup")

_OF_VM = {
    VmState.PLANNED: "lease",
    VmState.IMAGE: "image",
    VmState.STARTING: "vm_start",
    VmState.PERSONALISING: "personalise",
}


def flavour(resources: Resources) -> str:
    """Return a size as one word: CPUs, MiB of memory and, where there is any, of scratch disk, e.g. ``1x512``."""
    scratch = f"x{resources.scratch_mib}" if resources.scratch_mib else ""
    return f"{resources.cpus}x{resources.memory_mib}{scratch}"


def vm_phases(vm: Vm) -> Dict[str, float]:
    """Return the seconds of a VM's phases until it was READY, in order; those that are not over are left out."""
    spent: Dict[str, float] = {}
    for move, following in zip(vm.history, vm.history[1:]):
        name = _OF_VM.get(VmState(move.state))
        if name:
            spent[name] = max(0.0, following.at - move.at)
    return spent


def phases(job: Job) -> Dict[str, float]:
    """Return the seconds of a job's phases, in the order of ``PHASES``; those that are not over are left out."""
    at = {move.state: move.at for move in job.history}
    moments = job.moments

    def when(state: JobState) -> Optional[float]:
        return at.get(state.value)

    received, running, finished = when(JobState.RECEIVED), when(JobState.RUNNING), when(JobState.FINISHED)
    bounds = {
        "dispatch": (moments.get(QUEUED), received),
        "hook": (received, when(JobState.HELD)),
        "hold": (when(JobState.HELD), when(JobState.VM_REQUESTED) or when(JobState.MIGRATING)),
        "join": (when(JobState.VM_READY), when(JobState.MIGRATING)),
        "pin": (when(JobState.MIGRATING), moments.get(RELEASED)),
        "second_dispatch": (moments.get(RELEASED), running),
        "end": (moments.get(ENDED), finished),
        "cleanup": (finished, when(JobState.CLOSED)),
    }
    spent = dict(job.vm_seconds)
    for name, (begun, ended) in bounds.items():
        if begun is not None and ended is not None:
            spent[name] = max(0.0, ended - begun)
    return {name: round(spent[name], 4) for name in PHASES if name in spent}
