# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lifecycle of a job and of a VM, as tables: states and allowed moves, nothing else."""

from __future__ import annotations

from enum import Enum
from typing import Dict, FrozenSet, Mapping, TypeVar

from .errors import StateError


class JobState(str, Enum):
    """Where a virtual job is on its way, as its bait sees it."""

    RECEIVED = "RECEIVED"
    HELD = "HELD"
    VM_REQUESTED = "VM_REQUESTED"
    VM_READY = "VM_READY"
    MIGRATING = "MIGRATING"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    CANCELLED = "CANCELLED"
    RETURNED = "RETURNED"
    REFUSED = "REFUSED"
    CLOSED = "CLOSED"


class VmState(str, Enum):
    """Where a VM is on its way, as its hypervisor sees it."""

    PLANNED = "PLANNED"
    IMAGE = "IMAGE"
    STARTING = "STARTING"
    PERSONALISING = "PERSONALISING"
    READY = "READY"
    IN_USE = "IN_USE"
    RECYCLING = "RECYCLING"
    BROKEN = "BROKEN"
    GONE = "GONE"


class PoolState(str, Enum):
    """Where a VM is that waits for a job, as its bait sees it."""

    COMING = "COMING"
    JOINING = "JOINING"
    WAITING = "WAITING"
    TAKEN = "TAKEN"
    LEAVING = "LEAVING"
    GONE = "GONE"


def _table(moves: Dict[S, str], states: type) -> Dict[S, FrozenSet[S]]:
    return {state: frozenset(states(name) for name in names.split()) for state, names in moves.items()}


S = TypeVar("S", JobState, VmState, PoolState)

_J = JobState
#: CANCELLED, RETURNED, REFUSED and FINISHED are outcomes: what was made for the job still has to go before CLOSED.
#: RUNNING may become RETURNED because the owner or the LRMS may requeue a running job, and REFUSED because the LRMS may
#: have sent it straight to a VM that is not for its owner.
#: HELD may become MIGRATING because its VM may have been there before it, and RECEIVED RUNNING because the LRMS may
#: have sent it straight to its VM.
JOB_MOVES: Mapping[JobState, FrozenSet[JobState]] = _table(
    {
        _J.RECEIVED: "HELD RUNNING CANCELLED RETURNED REFUSED",
        _J.HELD: "VM_REQUESTED MIGRATING CANCELLED RETURNED REFUSED",
        _J.VM_REQUESTED: "VM_READY CANCELLED RETURNED REFUSED",
        _J.VM_READY: "MIGRATING CANCELLED RETURNED REFUSED",
        _J.MIGRATING: "RUNNING FINISHED CANCELLED RETURNED REFUSED",
        _J.RUNNING: "FINISHED CANCELLED RETURNED REFUSED",
        _J.FINISHED: "CLOSED",
        _J.CANCELLED: "CLOSED",
        _J.RETURNED: "CLOSED",
        _J.REFUSED: "CLOSED",
        _J.CLOSED: "",
    },
    JobState,
)

_V = VmState
#: RECYCLING is also the way down: what is taken away passes it on the way to GONE.
VM_MOVES: Mapping[VmState, FrozenSet[VmState]] = _table(
    {
        _V.PLANNED: "IMAGE RECYCLING BROKEN",
        _V.IMAGE: "STARTING RECYCLING BROKEN",
        _V.STARTING: "PERSONALISING RECYCLING BROKEN",
        _V.PERSONALISING: "READY RECYCLING BROKEN",
        _V.READY: "IN_USE RECYCLING BROKEN",
        _V.IN_USE: "RECYCLING BROKEN",
        _V.RECYCLING: "READY GONE BROKEN",
        _V.BROKEN: "RECYCLING",
        _V.GONE: "",
    },
    VmState,
)

_P = PoolState
#: TAKEN is another word for GONE once the job's own record names the VM; until then it may go back.
POOL_MOVES: Mapping[PoolState, FrozenSet[PoolState]] = _table(
    {
        _P.COMING: "JOINING LEAVING",
        _P.JOINING: "WAITING LEAVING",
        _P.WAITING: "TAKEN LEAVING",
        _P.TAKEN: "WAITING LEAVING GONE",
        _P.LEAVING: "GONE",
        _P.GONE: "",
    },
    PoolState,
)

_TABLES = {JobState: JOB_MOVES, VmState: VM_MOVES, PoolState: POOL_MOVES}

JOB_OUTCOMES = frozenset({_J.FINISHED, _J.CANCELLED, _J.RETURNED, _J.REFUSED})
JOB_BEFORE_RUNNING = frozenset({_J.RECEIVED, _J.HELD, _J.VM_REQUESTED, _J.VM_READY, _J.MIGRATING})


def check_move(old: S, new: S, what: str) -> None:
    """Raise StateError unless the tables allow ``old → new``; ``what`` names the object in the message."""
    # mypy can't tie the table to the type of the states that are looked up in it
    moves: Mapping[S, FrozenSet[S]] = _TABLES[type(old)]  # type: ignore[assignment]
    if new not in moves[old]:
        allowed = ", ".join(sorted(state.value for state in moves[old])) or "nothing: it is an end"
        raise StateError(
            object=what, value=f"{old.value} → {new.value}", reason="no such move", hint=f"allowed: {allowed}"
        )
