# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch system in memory: one node with a bait, VMs as hosts, users who do what users do.

For unit tests, failure injection and the simulator. ``fail_next`` makes a call fail, ``down`` all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Container, Dict, Iterable, List, Optional, Set, Tuple

from ..model.errors import LrmsError, NotFoundError
from ..model.job import Dispatch, Hold
from ..model.resources import Resources
from ..model.vm import GuestFile, GuestSetup
from . import slurm_constraint
from .base import DefaultImage, HostState, Lrms, LrmsJob, LrmsJobState, NodeRoom, Wish, WorkerNode, no_image
from .slurm_text import options as read_options

_FREE = {
    "Partition": "main",
    "TimeLimit": "1:00:00",
    "ReqNodeList": "",
    "ExcNodeList": "",
    "ReservationName": "",
    "Requeue": "1",
    "BatchFlag": "1",
    "NumCPUs": "1",
}
_SHAPE = ("Features", "NumCPUs")


@dataclass
class FakeHost:
    """A VM in the fake: who may use it, and whether it is open."""

    state: HostState = HostState.CLOSED
    user: str = "root"
    key: str = ""


@dataclass
class FakeLrms(Lrms):
    """See the module; ``node`` is the bait's node, ``cpus`` and ``memory_mib`` what it gives to jobs.

    ``drained``: by an administrator; ``taken``: what real jobs have of it.
    """

    node: str = "hv1"
    cpus: int = 8
    memory_mib: int = 8000
    drained: bool = False
    taken: Resources = field(default_factory=lambda: Resources(0, 0))
    largest_mib: int = 8000
    down: bool = False
    table: Dict[str, LrmsJob] = field(default_factory=dict)
    names: Dict[str, str] = field(default_factory=dict)
    holders: Dict[str, str] = field(default_factory=dict)
    shares: Dict[str, Resources] = field(default_factory=dict)
    #: placeholders that give way to jobs
    offers: Dict[str, str] = field(default_factory=dict)
    #: ids of placeholders that do not have their share yet
    waiting: Set[str] = field(default_factory=set)
    hosts: Dict[str, FakeHost] = field(default_factory=dict)
    tags: Tuple[str, ...] = ()
    problem: str = ""
    calls: List[str] = field(default_factory=list)
    #: jobs that can't be put back
    interactive: Set[str] = field(default_factory=set)
    #: hosts that were made to run a job of ours
    rehearsals: List[str] = field(default_factory=list)
    #: seconds after which each returned job may start again
    delays: Dict[str, float] = field(default_factory=dict)
    #: who frees a job that was returned and is still held
    holds: Dict[str, Hold] = field(default_factory=dict)
    #: what a job waits for that is let go to its VM, while that stands: a limit, or something impossible
    limits: Dict[str, str] = field(default_factory=dict)
    #: how many tasks of an array may run at once
    throttles: Dict[str, int] = field(default_factory=dict)
    #: features of the node besides images
    features: Tuple[str, ...] = ("bait",)
    #: whether other nodes serve images
    alone: bool = True
    #: runs that the node itself tells of: run → job's number
    runs: Dict[str, str] = field(default_factory=dict)
    #: time limit and reservation of each share, as it was asked for
    likes: Dict[str, Tuple[str, str]] = field(default_factory=dict)
    quarantine: float = 125.0
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
            fixed={**_FREE, "Features": f"vm_{tag}" if tag else "", "NumCPUs": str(cpus)},
            partition=_FREE["Partition"],
            tag=tag,
            number=number,
            shape=_SHAPE,
            kind=user,
        )
        return number

    def submit_array(self, tasks: int, throttle: int, tag: str) -> List[str]:
        """Queue an array of which ``throttle`` tasks may run at once; return its tasks' ids."""
        array = str(self._next)
        self.throttles[array] = throttle
        found = []
        for task in range(1, tasks + 1):
            number = self.submit(tag=tag)
            self.table[f"{array}_{task}"] = replace(self.table.pop(number), id=f"{array}_{task}")
            found.append(f"{array}_{task}")
        return found

    def hold_by_owner(self, job_id: str) -> None:
        """The owner puts the job back into the queue, or finds it there, and holds it."""
        self.change(job_id, state=LrmsJobState.HELD, host="", hold=Hold.OWNER)

    def start_bare(self, job_id: str) -> None:
        """Start the job on the node behind the hook's back."""
        self.change(job_id, state=LrmsJobState.RUNNING, host=self.node)
        self.runs[f"run of {job_id}"] = self.table[job_id].number

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
        vm = self.hosts.get(self.table[job_id].host)
        if vm is not None and vm.state is HostState.BUSY:
            vm.state = HostState.READY

    def fail_next(self, call: str, times: int = 1) -> None:
        """Let the next ``times`` calls of the method ``call`` raise LrmsError."""
        self._failing[call] = times

    def _called(self, call: str) -> None:
        self.calls.append(call)
        if self.down or self._failing.get(call, 0) > 0:
            self._failing[call] = self._failing.get(call, 0) - 1
            raise LrmsError(object="fake LRMS", value=call, reason="does not answer")

    # the seam

    def wish(self, dispatch: Dispatch, default: DefaultImage = no_image) -> Optional[Wish]:
        environment, job = dispatch.environment, self.table[dispatch.job_id]
        constraint, comment = (environment.get(f"SLURM_JOB_{key}", "") for key in ("CONSTRAINTS", "COMMENT"))
        named = slurm_constraint.tags(constraint)
        if not named:
            tag = default(job.user, job.partition)
            return Wish(tag, read_options(comment)) if tag else None
        named = slurm_constraint.images(constraint, self.features)
        return Wish(named[0], read_options(comment), named[1:])

    def placeholder_key(self, dispatch: Dispatch) -> str:
        everything = (*self.holders.items(), *self.offers.items())
        return next((key for key, number in everything if number == dispatch.job_id), "")

    def job(self, job_id: str) -> Optional[LrmsJob]:
        self._called("job")
        return self.table.get(job_id)

    def jobs(self, job_ids: Iterable[str]) -> Dict[str, LrmsJob]:
        self._called("jobs")
        wanted = tuple(job_ids)
        return {job.id: job for job in (*self.table.values(), *self._shares()) if job.id in wanted}

    def _shares(self) -> List[LrmsJob]:
        root = LrmsJob(id="", state=LrmsJobState.RUNNING, user="root", uid=0, resources=Resources(1, 1))
        numbers = (*self.holders.values(), *self.offers.values())
        there = [replace(root, id=number, host=self.node) for number in numbers]
        return [replace(job, state=LrmsJobState.HELD, host="") if job.id in self.waiting else job for job in there]

    def jobs_on(self, host: str) -> Tuple[LrmsJob, ...]:
        self._called("jobs_on")
        running = (LrmsJobState.RUNNING, LrmsJobState.COMPLETING)
        return tuple(job for job in self.table.values() if job.host == host and job.state in running)

    def name(self, job_id: str) -> str:
        self._called("name")
        return self.names.get(job_id, "")

    def largest_node_mib(self, tag: str) -> int:
        self._called("largest_node_mib")
        return self.largest_mib

    def others_serve(self, tag: str) -> bool:
        self._called("others_serve")
        return not self.alone

    def present(self) -> Dict[str, str]:
        return {run: number for run, number in self.runs.items() if self._runs_here(number)}

    def _runs_here(self, number: str) -> bool:
        jobs = (job for job in self.table.values() if job.number == number)
        return any(job.state is LrmsJobState.RUNNING and job.host == self.node for job in jobs)

    def quarantine_s(self) -> float:
        self._called("quarantine_s")
        return self.quarantine

    def limit(self, job: LrmsJob) -> str:
        self._called("limit")
        array, underscore, _task = job.id.partition("_")
        most = self.throttles.get(array, 0)
        if not underscore or not most:
            return ""
        here = [one for one in self.table.values() if one.id.startswith(f"{array}_") and one.id != job.id]
        ahead = [one for one in here if one.state is LrmsJobState.RUNNING and one.host != self.node]
        held = [one for one in here if one.state in (LrmsJobState.HELD, LrmsJobState.PENDING) and one.mark]
        ahead += [one for one in held if "waits=1" not in one.mark or int(one.number) < int(job.number)]
        return "JobArrayTaskLimit" if len(ahead) >= most else ""

    def marked(self) -> Tuple[LrmsJob, ...]:
        self._called("marked")
        waiting = (LrmsJobState.PENDING, LrmsJobState.HELD)
        return tuple(job for job in self.table.values() if job.mark and job.state in waiting)

    def room(self) -> NodeRoom:
        self._called("room")
        shares = [share for key, share in self.shares.items() if self.holders[key] not in self.waiting]
        cpus = self.taken.cpus + sum(share.cpus for share in shares)
        memory = self.taken.memory_mib + sum(share.memory_mib for share in shares)
        free = Resources(max(0, self.cpus - cpus), max(0, self.memory_mib - memory))
        return NodeRoom(Resources(self.cpus, self.memory_mib), free, not self.drained)

    def stop(self, job: LrmsJob, mark: str, placeholder: str = "") -> None:
        self._called("stop")
        if job.whole:
            self.cancel(job, mark)
            return
        self.change(job.id, mark=mark, fixed={**self.table[job.id].fixed, "Requeue": "1"})
        if self.table[job.id].state in (LrmsJobState.RUNNING, LrmsJobState.PENDING, LrmsJobState.HELD):
            restarts = self.table[job.id].restarts + (self.table[job.id].state is LrmsJobState.RUNNING)
            self.change(job.id, state=LrmsJobState.HELD, host="", hold=Hold.ADMINISTRATOR, restarts=restarts)
        self.waiting.discard(placeholder)

    def requeue(self, job: LrmsJob, mark: str) -> bool:
        self._called("requeue")
        if job.id in self.interactive:
            return False
        self.stop(job, mark)
        return True

    def cancel(self, job: LrmsJob, mark: str) -> None:
        self._called("cancel")
        self.change(job.id, mark=mark, state=LrmsJobState.CANCELLED)

    def send(self, job: LrmsJob, host: str, original: Dict[str, str], mark: str) -> None:
        self._called("send")
        fixed = self.table[job.id].fixed
        pinned = {"Partition": "wnvm", "ReqNodeList": host, "ReservationName": f"wn_{host}"}
        self.change(job.id, mark=mark, fixed={**fixed, **pinned, "Requeue": original["Requeue"]})
        vm = self.hosts.get(host)
        if vm is not None:
            vm.user = job.user
        if self.table[job.id].state is LrmsJobState.HELD:
            self.change(job.id, state=LrmsJobState.PENDING, hold=Hold.NOBODY)
            self.start(job.id)

    def start(self, job_id: str) -> None:
        """Start a job that was let go to its VM, where nothing keeps it from that."""
        job = self.table[job_id]
        host, reason = job.fixed["ReqNodeList"], self.limits.get(job_id, "")
        vm = self.hosts.get(host)
        if reason or vm is None or vm.state is not HostState.READY or vm.user != job.user:
            impossible = reason == "BadConstraints"
            self.change(job_id, reason=reason, limited=bool(reason) and not impossible, impossible=impossible)
            return
        vm.state = HostState.BUSY
        self.change(job_id, state=LrmsJobState.RUNNING, host=host, reason="", limited=False)

    def give_back(
        self,
        job_id: str,
        original: Dict[str, str],
        mark: str,
        after_s: float = 0.0,
        avoid_node: bool = False,
        hold: Hold = Hold.NOBODY,
    ) -> None:
        self._called("give_back")
        if job_id not in self.table:
            raise NotFoundError(object=f"job {job_id}", reason="is not known")
        fixed = {**self.table[job_id].fixed, **{key: value for key, value in original.items() if key in _FREE}}
        fixed["ExcNodeList"] = self.node if avoid_node else fixed["ExcNodeList"]
        state = LrmsJobState.PENDING if hold is Hold.NOBODY else LrmsJobState.HELD
        self.change(job_id, fixed=fixed, state=state, mark=mark, hold=hold, reason="", limited=False)
        self.delays[job_id], self.holds[job_id] = after_s, hold

    def adopt(self, known: Container[str]) -> Tuple[str, ...]:
        self._called("adopt")
        return ()

    def place(self, key: str, resources: Resources, job: Optional[LrmsJob] = None) -> str:
        self._called("place")
        if key not in self.holders:
            self.holders[key] = str(self._next)
            if job is None:
                self.waiting.add(self.holders[key])
            else:
                self.likes[key] = job.fixed["TimeLimit"], job.fixed["ReservationName"]
            self.shares[key] = resources
            self._next += 1
        return self.holders[key]

    def offer(self, key: str, resources: Resources) -> str:
        self._called("offer")
        if key not in self.offers:
            self.offers[key] = str(self._next)
            self._next += 1
        return self.offers[key]

    def keep(self, key: str, resources: Resources, job: LrmsJob) -> str:
        self._called("keep")
        self.offers.pop(key, None)
        return self.place(key, resources, job)

    def unplace(self, key: str) -> None:
        self._called("unplace")
        self.offers.pop(key, None)
        self.waiting.discard(self.holders.pop(key, ""))
        self.shares.pop(key, None)

    def placeholders(self) -> Dict[str, str]:
        self._called("placeholders")
        return {**self.offers, **self.holders}

    def guest_setup(self, host: WorkerNode) -> GuestSetup:
        self.hosts[host.name] = FakeHost(HostState.READY if host.offered else HostState.CLOSED, key=host.key)
        return GuestSetup((GuestFile("/etc/fake", host.name),), (("start-fake",),))

    def environment(self, job: LrmsJob, restarts: int) -> Tuple[GuestFile, ...]:
        return (GuestFile("/etc/environment", f"partition={job.partition} restarts={restarts}"),)

    def accounts(self, user: str = "") -> Tuple[GuestFile, ...]:
        return (GuestFile("/etc/passwd", f"everybody {user}".strip()),)

    def host(self, name: str) -> HostState:
        self._called("host")
        return self.hosts[name].state if name in self.hosts else HostState.ABSENT

    def open_host(self, name: str) -> None:
        self._called("open_host")
        self.hosts[name].user = "root"
        if self.hosts[name].state is HostState.CLOSED:
            self.hosts[name].state = HostState.READY

    def rehearsed(self, key: str, host: str) -> bool:
        self._called("rehearsed")
        self.rehearsals.append(host)
        return True

    def close_host(self, name: str) -> None:
        self._called("close_host")
        if name in self.hosts:
            self.hosts[name].user = "root"
            if self.hosts[name].state is HostState.READY:
                self.hosts[name].state = HostState.CLOSED

    def fail_host(self, name: str, reason: str) -> None:
        self._called("fail_host")
        for job in list(self.table.values()):
            if job.host == name and job.state is LrmsJobState.RUNNING:
                self.change(job.id, state=LrmsJobState.PENDING, host="")

    def remove_host(self, name: str, key: str = "") -> None:
        self._called("remove_host")
        if key and (name not in self.hosts or self.hosts[name].key != key):
            return
        if any(job.host == name and job.state is LrmsJobState.RUNNING for job in self.table.values()):
            raise LrmsError(object=f"host {name}", reason="is busy")
        self.hosts.pop(name, None)

    def advertised(self) -> Tuple[str, ...]:
        return self.tags

    def inquiries(self) -> Dict[str, Tuple[str, ...]]:
        return {}

    def advertise(self, tags: Optional[Tuple[str, ...]], problem: str) -> bool:
        self._called("advertise")
        tags = self.tags if tags is None else tags
        changed = (tags, problem) != (self.tags, self.problem)
        self.tags, self.problem = tags, problem
        return changed
