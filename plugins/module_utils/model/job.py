# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A virtual job: what the LRMS dispatched, what it asks for, and what its bait knows of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Dict, Mapping, Optional, Tuple

from .resources import Resources
from .states import JobState, check_move
from .vm import GuestFile, Mount, Move


class Hold(str, Enum):
    """Who keeps a job held in its LRMS."""

    NOBODY = "NOBODY"
    OWNER = "OWNER"
    ADMINISTRATOR = "ADMINISTRATOR"


@dataclass(frozen=True)
class Dispatch:
    """What the LRMS's hook saw on the node.

    :param event: ``prolog`` (about to start here) or ``epilog`` (over here)
    :param job_id: as the LRMS names it to its own commands
    :param environment: the variables the LRMS set; all of it is user input
    """

    event: str
    job_id: str
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """What the hook is told: ``run`` (let it through) or ``stopped`` (it is back in the queue, held)."""

    action: str
    reason: str = ""


@dataclass(frozen=True)
class JobRequest:
    """What a virtual job asks for.

    :param tag: image tag
    :param mounts: folders of the node its VM gets
    """

    tag: str
    resources: Resources
    mounts: Tuple[Mount, ...] = ()


@dataclass(frozen=True)
class Job:
    """A virtual job as its bait keeps it.

    :param id: request id, ours: the LRMS may use its own ids again
    :param lrms_id: the LRMS's id
    :param attempt: 1 for the first dispatch, one more each time it was returned after a failure
    :param original: what we change in the LRMS's job and have to put back, in the LRMS's own terms
    :param placeholder: the LRMS's id of the job that keeps the VM's share off the node's books
    :param name: the user's name for it, made printable; empty while it is not known
    :param joined: whether the VM's host may be in the LRMS
    :param released: whether the pinned job was let go to its VM
    :param settled: whether the LRMS's job is no longer ours to touch (given back, refused, or changed by others)
    :param avoid_node: whether it should not come back to this node
    :param reason: why it was returned, refused or is being retried
    :param host: the VM's host name once it is known
    :param vm: request id of its VM; empty: its own
    :param path: where its VM came from: ``pool``, ``reuse``, ``direct``, ``restore`` or ``cold``; empty before
    :param moments: when things happened that are no move (see model/phases.py), in seconds since the epoch
    :param vm_seconds: what its VM spent in each state until it was READY
    :param failed: whether its VM failed, so that the next dispatch is another attempt
    :param lost: why its VM ended while it ran; empty: it did not
    :param stops: how often we have put it back into the queue, this time included
    :param restarts: how often others have: what it sees as its restarts
    :param crowded: how often in a row a node had no room for its VM
    :param avoided: node that we have excluded for it in the LRMS
    :param limit: limit of the LRMS that it waits for; empty: none
    :param kind: jobs of the same kind have the same limits
    :param hold: who is to free it once it is returned
    :param sealed: whether its VM takes nobody else's jobs any more
    :param environment: what its VM is told so that the job sees itself as on the node
    :param ruled: which site rule (``file:line``) made a value of the request what it is, by the value's name
    """

    id: str
    lrms_id: str
    user: str
    uid: int
    request: JobRequest
    state: JobState
    history: Tuple[Move, ...] = ()
    attempt: int = 1
    original: Optional[Dict[str, str]] = None
    placeholder: str = ""
    name: str = ""
    joined: bool = False
    released: bool = False
    settled: bool = False
    avoid_node: bool = False
    host: str = ""
    address: str = ""
    exit_code: Optional[int] = None
    reason: str = ""
    retry_after_s: float = 0.0
    vm: str = ""
    path: str = ""
    moments: Dict[str, float] = field(default_factory=dict)
    vm_seconds: Dict[str, float] = field(default_factory=dict)
    ruled: Dict[str, str] = field(default_factory=dict)
    failed: bool = False
    lost: str = ""
    stops: int = 0
    restarts: int = 0
    crowded: int = 0
    avoided: str = ""
    limit: str = ""
    kind: str = ""
    hold: Hold = Hold.NOBODY
    sealed: bool = False
    environment: Tuple[GuestFile, ...] = ()

    @property
    def vm_id(self) -> str:
        """The request id of its VM."""
        return self.vm or self.id

    @property
    def outcome(self) -> Optional[JobState]:
        """How it ended for us: the last state before CLOSED; None while it is under way."""
        if self.state is not JobState.CLOSED:
            return None
        return JobState(self.history[-2].state)

    def moved(self, state: JobState, at: float, reason: str = "") -> Job:
        """Return this job in ``state`` from ``at`` on; raise StateError where the tables forbid it."""
        check_move(self.state, state, f"job {self.lrms_id}")
        return replace(self, state=state, history=self.history + (Move(state.value, at),), reason=reason or self.reason)

    def seconds(self, until: float) -> Dict[str, float]:
        """Return the seconds spent in each state so far, in order; the last one counts up to ``until``."""
        ends = [move.at for move in self.history[1:]] + [until]
        spent: Dict[str, float] = {}
        for move, end in zip(self.history, ends):
            if move.state != JobState.CLOSED.value:
                spent[move.state] = spent.get(move.state, 0.0) + max(0.0, end - move.at)
        return spent
