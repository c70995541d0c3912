# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch system in memory: one node with a bait, VMs as hosts, users who do what users do.

For unit tests, failure injection and the simulator. ``fail_next`` makes a call fail, ``down`` all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Container, Dict, Iterable, List, Optional, Tuple

from ..model.errors import LrmsError, NotFoundError
from ..model.job import Dispatch
from ..model.resources import Resources
from ..model.vm import GuestFile, GuestSetup
from .base import HostState, Lrms, LrmsJob, LrmsJobState, VmHost, Wish
from .slurm_text import wish as read_wish

_FREE = {"Partition": "main", "TimeLimit": "1:00:00", "ReqNodeList": "", "ExcNodeList": "", "ReservationName": ""}


@dataclass
class FakeHost:
    """A VM in the fake: who may use it, and whether it is open."""

    state: HostState = HostState.CLOSED
    user: str = "root"


@dataclass
class FakeLrms(Lrms):
    """See the module; ``node`` is the bait's node, ``memory_mib`` what it gives to jobs."""

    node: str = "hv1"
    memory_mib: int = 8000
    largest_mib: int = 8000
    down: bool = False
    table: Dict[str, LrmsJob] = field(default_factory=dict)
    names: Dict[str, str] = field(default_factory=dict)
    holders: Dict[str, str] = field(default_factory=dict)
    shares: Dict[str, Resources] = field(default_factory=dict)
    hosts: Dict[str, FakeHost] = field(default_factory=dict)
    tags: Tuple[str, ...] = ()
    problem: str = ""
    calls: List[str] = field(default_factory=list)
    #: seconds after which each returned job may start again
    delays: Dict[str, float] = field(default_factory=dict)
    _failing: Dict[str, int] = field(default_factory=dict)
    _next: int = 1

    # what tests and the simulator do

    def submit(self, user: str = "alice", tag: str = "", memory_mib: int = 512, cpus: int = 1, nodes: int = 1) -> str:
        """Queue a job and return its id."""
        number = str(self._next)
        self._next += 1
        self.table[number] = LrmsJob(
            id=number,
            state=LrmsJobState.PENDING,
            user=user,
            uid=1000,
            resources=Resources(cpus, memory_mib),
            nodes=nodes,
            fixed={**_FREE, "Features": f"vm_{tag}" if tag else ""},
        )
        return number

    def dispatch(self, job_id: str, comment: str = "") -> Dispatch:
        """Start the job on the bait's node as far as its prolog, and return what the hook sees."""
        self.change(job_id, state=LrmsJobState.RUNNING, host=self.node)
        seen = {"SLURM_JOB_CONSTRAINTS": self.table[job_id].fixed["Features"], "SLURM_JOB_COMMENT": comment}
        return Dispatch("prolog", job_id, seen)

    def change(self, job_id: str, **changes: Any) -> None:
        """Change fields of a job."""
        self.table[job_id] = replace(self.table[job_id], **changes)

    def finish(self, job_id: str, exit_code: int = 0) -> None:
        """End a running job."""
        self.change(job_id, state=LrmsJobState.ENDED, exit_code=exit_code)

    def fail_next(self, call: str, times: int = 1) -> None:
        """Let the next ``times`` calls of the method ``call`` raise LrmsError."""
        self._failing[call] = times

    def _called(self, call: str) -> None:
        self.calls.append(call)
        if self.down or self._failing.get(call, 0) > 0:
            self._failing[call] = self._failing.get(call, 0) - 1
            raise LrmsError(object="fake LRMS", value=call, reason="does not answer")

    # the seam

    def wish(self, dispatch: Dispatch) -> Optional[Wish]:
        environment = dispatch.environment
        return read_wish(environment.get("SLURM_JOB_CONSTRAINTS", ""), environment.get("SLURM_JOB_COMMENT", ""))

    def placeholder_key(self, dispatch: Dispatch) -> str:
        return next((key for key, number in self.holders.items() if number == dispatch.job_id), "")

    def job(self, job_id: str) -> Optional[LrmsJob]:
        self._called("job")
        return self.table.get(job_id)

    def jobs(self, job_ids: Iterable[str]) -> Dict[str, LrmsJob]:
        self._called("jobs")
        return {job_id: self.table[job_id] for job_id in job_ids if job_id in self.table}

    def name(self, job_id: str) -> str:
        self._called("name")
        return self.names.get(job_id, "")

    def largest_node_mib(self, tag: str) -> int:
        self._called("largest_node_mib")
        return self.largest_mib

    def node_mib(self) -> int:
        self._called("node_mib")
        return self.memory_mib

    def mark(self, job_id: str, text: str) -> None:
        self._called("mark")
        self.change(job_id, mark=text)

    def original(self, job_id: str) -> Dict[str, str]:
        self._called("original")
        return {**self.table[job_id].fixed, "Requeue": "0"}

    def stop(self, job_id: str) -> None:
        self._called("stop")
        if self.table[job_id].state is LrmsJobState.RUNNING:
            self.change(job_id, state=LrmsJobState.HELD, host="")

    def pin(self, job_id: str, host: str, user: str, original: Dict[str, str]) -> Dict[str, str]:
        self._called("pin")
        self.hosts[host].user = user
        seen = self.table[job_id].fixed
        pinned = {"Partition": "wnvm", "ReqNodeList": host, "ReservationName": f"wn_{host}", "ExcNodeList": ""}
        self.change(job_id, fixed={**seen, **pinned, "TimeLimit": original["TimeLimit"]})
        return {**pinned, "TimeLimit": original["TimeLimit"], "Features": original["Features"]}

    def release(self, job_id: str) -> None:
        self._called("release")
        job = self.table[job_id]
        if job.state is not LrmsJobState.HELD:
            return
        host = self.hosts.get(job.fixed["ReqNodeList"])
        if host is not None and host.state is HostState.READY and host.user == job.user:
            host.state = HostState.BUSY
            self.change(job_id, state=LrmsJobState.RUNNING, host=job.fixed["ReqNodeList"])
        else:
            self.change(job_id, state=LrmsJobState.PENDING)

    def give_back(self, job_id: str, original: Dict[str, str], mark: str, after_s: float, avoid_node: bool) -> None:
        self._called("give_back")
        excluded = self.node if avoid_node else original["ExcNodeList"]
        self.change(job_id, fixed={**_FREE, "Features": self.table[job_id].fixed["Features"], "ExcNodeList": excluded})
        self.change(job_id, state=LrmsJobState.PENDING, mark=mark)
        self.delays[job_id] = after_s

    def keep_held(self, job_id: str, original: Dict[str, str], mark: str) -> None:
        self._called("keep_held")
        self.change(job_id, mark=mark)

    def adopt(self, known: Container[str]) -> Tuple[str, ...]:
        self._called("adopt")
        return ()

    def place(self, key: str, resources: Resources) -> str:
        self._called("place")
        if key not in self.holders:
            self.holders[key] = str(self._next)
            self.shares[key] = resources
            self._next += 1
        return self.holders[key]

    def placed(self, placeholder: str) -> bool:
        self._called("placed")
        if placeholder not in self.holders.values():
            raise NotFoundError(object=f"placeholder {placeholder}", reason="has ended")
        return True

    def unplace(self, key: str) -> None:
        self._called("unplace")
        self.holders.pop(key, None)
        self.shares.pop(key, None)

    def placeholders(self) -> Dict[str, str]:
        self._called("placeholders")
        return dict(self.holders)

    def guest_setup(self, host: VmHost, user: str, uid: int) -> GuestSetup:
        self.hosts[host.name] = FakeHost()
        return GuestSetup((GuestFile("/etc/fake", host.name),), (("start-fake",),))

    def host(self, name: str) -> HostState:
        self._called("host")
        return self.hosts[name].state if name in self.hosts else HostState.ABSENT

    def open_host(self, name: str) -> None:
        self._called("open_host")
        if self.hosts[name].state is HostState.CLOSED:
            self.hosts[name].state = HostState.READY

    def fail_host(self, name: str, reason: str) -> None:
        self._called("fail_host")
        for job in list(self.table.values()):
            if job.host == name and job.state is LrmsJobState.RUNNING:
                self.change(job.id, state=LrmsJobState.PENDING, host="")

    def remove_host(self, name: str) -> None:
        self._called("remove_host")
        if any(job.host == name and job.state is LrmsJobState.RUNNING for job in self.table.values()):
            raise LrmsError(object=f"host {name}", reason="is busy")
        self.hosts.pop(name, None)

    def advertise(self, tags: Tuple[str, ...], problem: str) -> bool:
        self._called("advertise")
        changed = (tags, problem) != (self.tags, self.problem)
        self.tags, self.problem = tags, problem
        return changed
