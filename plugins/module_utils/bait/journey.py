# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of one virtual job, a handler a state.

A handler does the side effects of its state, which the journal has named before, and may be called again at any time:
after an error, after a restart, twice in a row. It returns the seconds after which it wants to be called again; events
call it sooner. "No match, no action": a job that no longer carries our mark is nobody's business of ours.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Callable, Dict, Optional, Set

from ..engine.journal import Journal
from ..hypervisor.api import HypervisorApi
from ..lrms.base import HostState, Lrms, LrmsJob, LrmsJobState, Wish, WorkerNode
from ..model.clock import Clock, Failpoints
from ..model.errors import NotFoundError, RequestError, StateError
from ..model.job import Job
from ..model.phases import DIRECT, ENDED, QUEUED, RELEASED, vm_phases
from ..model.states import JOB_BEFORE_RUNNING, JobState, VmState
from ..model.vm import GuestSetup, VmRequest, VmUser
from .config import BaitConfig
from .drain import Drain
from .joining import Joining
from .pool import Pool
from .request import Grants, Mark, groups, labels, printable, received
from .sightings import Sightings

log = logging.getLogger(__name__)

SOON_S = 0.2
#: the same while a job whose VM is there leaves the node: nothing else is waited for
PRESENT_S = 0.02
NOW_S = 0.0
_OVER = (LrmsJobState.ENDED, LrmsJobState.CANCELLED)


class Journey:
    """Moves jobs along; see the module.

    :param grants: what jobs may have
    :param sightings: what the LRMS says of jobs
    :param moved: told of each job that has come into another state
    """

    def __init__(
        self,
        config: BaitConfig,
        grants: Grants,
        lrms: Lrms,
        hypervisor: HypervisorApi,
        journal: Journal[Job],
        clock: Clock,
        failpoints: Failpoints,
        sightings: Sightings,
        joining: Joining,
        pool: Pool,
        drain: Drain,
        moved: Callable[[Job], None],
    ) -> None:
        self._config, self._lrms, self._hypervisor, self._journal = config, lrms, hypervisor, journal
        self._clock, self._failpoints, self._sightings, self._moved = clock, failpoints, sightings, moved
        self._grants, self._joining, self._pool, self._drain = grants, joining, pool, drain
        self._memory_mib = 0
        self._introduced: Set[str] = set()
        #: when a job's VM said that the job was over, by LRMS id
        self.ended_at: Dict[str, float] = {}
        self._handlers: Dict[JobState, Callable[[Job], Optional[float]]] = {
            JobState.RECEIVED: self._received,
            JobState.HELD: self._held,
            JobState.VM_REQUESTED: self._vm_requested,
            JobState.VM_READY: self._vm_ready,
            JobState.MIGRATING: self._migrating,
            JobState.RUNNING: self._running,
            JobState.FINISHED: self._ended,
            JobState.CANCELLED: self._ended,
            JobState.RETURNED: self._ended,
            JobState.REFUSED: self._ended,
        }

    def step(self, key: str) -> Optional[float]:
        """Do the next thing for the job ``key``."""
        job = self._journal.get(key)
        if job is None or job.state is JobState.CLOSED:
            return None
        return self._handlers[job.state](job)

    # moves

    def _put(self, job: Job) -> Job:
        return self._journal.put(job)

    def _move(self, job: Job, state: JobState, reason: str = "") -> float:
        log.info("%s → %s %s", job.state.value, state.value, reason, extra=fields(job))
        self._moved(self._put(job.moved(state, self._clock.now(), reason)))
        self._failpoints.hit(f"bait.{state.value.lower()}")
        return NOW_S

    def fail(self, job: Job, reason: str) -> float:
        """The VM of ``job`` failed: back to the queue with a growing pause, or held after too many times."""
        config = self._config
        if job.attempt >= config.max_attempts:
            return self._move(job, JobState.REFUSED, f"{job.attempt} VMs failed, the last one: {reason}")
        pause = min(config.backoff_s * 2 ** (job.attempt - 1), config.max_backoff_s)
        return self._give_back(job, reason, pause)

    def _give_back(self, job: Job, reason: str, pause_s: float = 0.0, avoid_node: bool = False) -> float:
        return self._move(replace(job, retry_after_s=pause_s, avoid_node=avoid_node), JobState.RETURNED, reason)

    def leave(self, job: Job, reason: str) -> float:
        """Others took ``job`` out of our hands: take away what was made for it, touch it no more."""
        return self._move(replace(job, settled=True), JobState.RETURNED, reason)

    def _in_state_s(self, job: Job) -> float:
        return self._clock.now() - job.history[-1].at

    def _look(self, job: Job, expected: LrmsJobState) -> Optional[LrmsJob]:
        """Return the LRMS's job; what is not as expected is read afresh, for nothing is decided on an old reading."""
        seen = self._sightings.last(job.lrms_id)
        return seen if seen is not None and seen.state is expected else self._sightings.fresh(job.lrms_id)

    def _gone(self, job: Job, seen: Optional[LrmsJob]) -> Optional[float]:
        """Move on a job that no longer waits for its VM; None while it does."""
        if seen is None or seen.state in _OVER:
            return self._move(replace(job, settled=True), JobState.CANCELLED, "the job left the queue")
        if not self._ours(job, seen):
            return self.leave(job, "its mark was changed")
        if seen.state is LrmsJobState.PENDING and not job.released:
            return self._give_back(job, "it was released by someone else")
        if seen.state is LrmsJobState.RUNNING and seen.host != job.host:
            return self.leave(job, f"it was started on {seen.host}")
        if self._drain.order is not None and not job.released:
            return self._give_back(job, self._drain.to_jobs)
        return None

    def _ours(self, job: Job, seen: LrmsJob) -> bool:
        mark = Mark.parse(seen.mark)
        return mark is not None and mark.id == job.id

    def mark(self, job: Job, reason: str = "", attempt: int = 0) -> str:
        """Return the mark of ``job`` as text."""
        return str(Mark(job.id, self._config.host, attempt or job.attempt, reason))

    # on the bait

    def _received(self, job: Job) -> float:
        seen = self._look(job, LrmsJobState.RUNNING)
        if seen is None or seen.state in _OVER:
            return self._move(replace(job, settled=True), JobState.CANCELLED, "the job left the queue")
        if job.original is None:
            moments = {QUEUED: seen.eligible} if seen.eligible else {}
            job = self._put(replace(job, original=seen.fixed, moments=moments))
        if job.reason:
            self._stop(job, seen)
            return self._move(job, JobState.REFUSED)
        if self._drain.order is not None:
            self._stop(job, seen)
            return self._give_back(job, self._drain.to_jobs)
        charge = self._config.overheads.charge(job.request.resources)
        if charge.memory_mib > self._node_mib():
            return self._too_large(job, seen, charge.memory_mib)
        if not job.placeholder:
            job = self._from_pool(job) or self._put(replace(job, placeholder=self._lrms.place(job.id, charge)))
        self._failpoints.hit("bait.place")
        self._stop(job, seen)
        return self._move(job, JobState.HELD)

    def _node_mib(self) -> int:
        if not self._memory_mib:
            self._memory_mib = self._lrms.room().total.memory_mib
        return self._memory_mib

    def _stop(self, job: Job, seen: LrmsJob) -> None:
        self._sightings.forget(job.lrms_id)
        self._lrms.stop(seen, self.mark(job, job.reason), job.placeholder if job.vm else "")
        self._failpoints.hit("bait.stop")

    def _from_pool(self, job: Job) -> Optional[Job]:
        """Return ``job`` with a VM that has waited for one like it; None where there is none."""
        vm = self._pool.take(job, VmUser(job.user, groups(job.user), labels(job)))
        if vm is None:
            return None
        path = "reuse" if vm.user else "pool"
        ours = replace(job, vm=vm.id, host=vm.host, address=vm.address, path=path, joined=True)
        job = self._put(replace(ours, placeholder=vm.placeholder))
        self._pool.given(vm)
        return job

    def _too_large(self, job: Job, seen: LrmsJob, needed_mib: int) -> float:
        largest = self._lrms.largest_node_mib(job.request.tag)
        self._stop(job, seen)
        if needed_mib <= largest:
            return self._give_back(job, f"its VM needs {needed_mib} MiB, too much for this node", avoid_node=True)
        asked = job.request.resources.memory_mib
        extra = needed_mib - asked
        return self._move(
            job,
            JobState.REFUSED,
            f"it asks for {asked} MiB and its VM needs {extra} MiB more, but no node has over {largest} MiB;"
            f" ask for at most {max(0, largest - extra)} MiB",
        )

    def _held(self, job: Job) -> float:
        if job.vm and job.id not in self._introduced:
            # while the job leaves the node
            try:
                self._hypervisor.setup(job.vm_id, GuestSetup(self._lrms.account(job.user)))
            except (NotFoundError, StateError) as error:
                return self.fail(job, self._vm_lost(job) or str(error))
            self._introduced.add(job.id)
        found = self._sightings.all((job.lrms_id, job.placeholder))
        seen, share = found.get(job.lrms_id), found.get(job.placeholder)
        gone = None if seen is not None and seen.state is LrmsJobState.RUNNING else self._gone(job, seen)
        if gone is not None:
            return gone
        assert seen is not None
        pause_s = PRESENT_S if job.vm else SOON_S
        if seen.state is not LrmsJobState.HELD:
            if seen.state is LrmsJobState.RUNNING:
                self._stop(job, seen)
            return pause_s
        if share is None or share.state in _OVER:
            return self._give_back(job, "its placeholder ended", self._config.backoff_s)
        if share.state is LrmsJobState.RUNNING:
            if job.vm:
                return self._move(job, JobState.MIGRATING)
            self._pool.make_room()
            return self._move(job, JobState.VM_REQUESTED)
        if self._in_state_s(job) > self._config.place_timeout_s:
            return self._give_back(job, "the node has no room for its VM now", self._config.backoff_s)
        return pause_s

    def _named(self, job: Job) -> Job:
        """Return ``job`` with the name its user gave it."""
        return job if job.name else self._put(replace(job, name=printable(self._lrms.name(job.lrms_id))))

    # its VM

    def _vm_requested(self, job: Job) -> float:
        gone = self._gone(job, self._look(job, LrmsJobState.HELD))
        if gone is not None:
            return gone
        job, asked = self._named(job), job.request
        request = VmRequest(
            job.id, job.user, asked.tag, asked.resources, asked.mounts, groups=groups(job.user), labels=labels(job)
        )
        try:
            vm = self._hypervisor.create(request)
        except RequestError as error:
            return self.fail(job, str(error))
        if vm.state is VmState.READY:
            known = replace(job, host=vm.name, address=vm.address, path=vm.path, vm_seconds=vm_phases(vm))
            return self._move(known, JobState.VM_READY)
        if vm.state in (VmState.BROKEN, VmState.GONE, VmState.RECYCLING):
            return self.fail(job, vm.reason or f"its VM is {vm.state.value}")
        if self._in_state_s(job) > self._config.vm_timeout_s:
            return self.fail(job, f"its VM was not ready after {self._config.vm_timeout_s:g} s ({vm.state.value})")
        return 1.0

    def _vm_lost(self, job: Job) -> str:
        """Return why the VM can't be used any more; empty while it can."""
        try:
            vm = self._hypervisor.get(job.vm_id)
        except NotFoundError:
            return "its VM is unknown to the hypervisor"
        if vm.state in (VmState.READY, VmState.IN_USE):
            return ""
        return vm.reason or f"its VM is {vm.state.value}"

    def _vm_ready(self, job: Job) -> float:
        gone = self._gone(job, self._look(job, LrmsJobState.HELD))
        if gone is not None:
            return gone
        lost = self._vm_lost(job)
        if lost:
            return self.fail(job, lost)
        if not job.joined:
            self._lrms.remove_host(job.host)  # left by an earlier VM of this name
            job = self._put(replace(job, joined=True))
        host = WorkerNode(job.host, job.address, job.request.resources, job.request.tag)
        state = self._joining.step(job.id, host, self._lrms.account(job.user))
        if state is HostState.READY:
            return self._move(job, JobState.MIGRATING)
        if state is HostState.CLOSED:
            return SOON_S
        if self._in_state_s(job) > self._config.join_timeout_s:
            return self.fail(
                job, f"its VM did not join the LRMS within {self._config.join_timeout_s:g} s ({state.value})"
            )
        return SOON_S

    # to the VM

    def _migrating(self, job: Job) -> float:
        seen = self._look(job, LrmsJobState.HELD)
        if seen is not None and job.released and seen.state in _OVER and seen.host == job.host:
            return self._finish(job, seen)
        gone = self._gone(job, seen)
        if gone is not None:
            return gone
        assert seen is not None
        if seen.state is LrmsJobState.RUNNING:
            return self._move(job, JobState.RUNNING)
        lost = self._vm_lost(job)
        if lost:
            return self.fail(job, lost)
        if seen.state is LrmsJobState.HELD:
            return self._send(job, seen)
        if self._lrms.host(job.host) in (HostState.CLOSED, HostState.DOWN):
            return self.fail(job, "the LRMS closed its VM: prolog or slurmd failed there")
        if self._in_state_s(job) > self._config.join_timeout_s:
            return self.fail(job, f"it did not start on its VM within {self._config.join_timeout_s:g} s")
        return SOON_S

    def _send(self, job: Job, seen: LrmsJob) -> float:
        original = job.original
        assert original is not None
        if not job.vm:
            self._hypervisor.use(job.vm_id)
        if not job.released:
            moments = {**job.moments, RELEASED: self._clock.now()}
            job = self._put(replace(job, released=True, moments=moments))
        self._failpoints.hit("bait.send")
        self._sightings.forget(job.lrms_id)
        changed = self._lrms.send(seen, job.host, original)
        if changed:
            return self._give_back(job, f"its {', '.join(changed)} changed while it was held")
        return SOON_S

    def _running(self, job: Job) -> float:
        if job.path == DIRECT and not job.placeholder:
            return self._settle_in(job)
        seen = self._look(job, LrmsJobState.RUNNING)
        if seen is None or seen.state in _OVER:
            return self._finish(job, seen)
        if seen.state in (LrmsJobState.PENDING, LrmsJobState.HELD):
            return self._give_back(job, "it was put back into the queue while it ran")
        if seen.state is LrmsJobState.COMPLETING:
            return SOON_S
        lost = self._vm_lost(job)
        if lost:
            log.warning("VM of a running job is lost: %s", lost, extra=fields(job))
            self._lrms.fail_host(job.host, lost)
            return SOON_S
        if self._drain.ends_jobs and self._lrms.requeue(seen, self.mark(job, self._drain.to_jobs)):
            self._sightings.forget(job.lrms_id)
            return self._give_back(job, self._drain.to_jobs)
        return self._config.heartbeat_s

    def _settle_in(self, job: Job) -> float:
        """Make the VM that the LRMS chose this job's alone: closed to others, its share kept, its user known."""
        self._lrms.close_host(job.host)
        seen = self._sightings.fresh(job.lrms_id)
        for other in self._lrms.jobs_on(job.host):
            if other.id != job.lrms_id:
                self._send_back(other, job)
        placeholder = self._lrms.keep(job.vm_id, self._config.overheads.charge(job.request.resources))
        self._failpoints.hit("bait.keep")
        if seen is not None and seen.state not in _OVER:
            try:
                if seen.tag:  # of others the LRMS decides alone: they asked for nothing of ours
                    self._grants.granted(Wish(job.request.tag), seen)  # it may have named several
                self._hypervisor.use(job.vm_id, VmUser(job.user, groups(job.user), labels(job)))
            except RequestError as error:
                self._lrms.stop(seen, self.mark(job, str(error)))
                self._sightings.forget(job.lrms_id)
                return self._move(replace(job, placeholder=placeholder), JobState.REFUSED, str(error))
        self._put(replace(job, placeholder=placeholder))
        return NOW_S

    def _send_back(self, other: LrmsJob, job: Job) -> None:
        """Another job was sent to the VM of ``job`` in the same moment: it goes back into the queue, and on at once."""
        now = self._clock.now()
        log.warning("job %s was sent to the same VM and goes back", other.id, extra=fields(job))
        back = received(other, job.request, now, original=other.fixed, path=DIRECT)
        back = self._put(back.moved(JobState.RETURNED, now, "another job was sent to the same VM"))
        self._failpoints.hit("bait.send_back")
        self._lrms.stop(other, self.mark(back, back.reason))
        self._moved(back)

    def _finish(self, job: Job, seen: Optional[LrmsJob]) -> float:
        code = seen.exit_code if seen is not None else None
        ended = self.ended_at.pop(job.lrms_id, 0.0)
        moments = {**job.moments, ENDED: ended} if ended else job.moments
        return self._move(replace(job, exit_code=code, settled=True, moments=moments), JobState.FINISHED)

    # the end

    def _ended(self, job: Job) -> Optional[float]:
        if not job.settled:
            after = self._settle(job)
            if after is not None:
                return after
            job = self._put(replace(job, settled=True))
        kept = job.state is JobState.FINISHED and self._kept(job)
        if job.joined and not kept:
            self._joining.leave(job.vm_id, job.host)
            job = self._put(replace(job, joined=False))
            self._failpoints.hit("bait.remove_host")
        if not kept and (job.vm or self._was(job, JobState.VM_REQUESTED)):
            try:
                if self._hypervisor.destroy(job.vm_id).state is not VmState.GONE:
                    return SOON_S
            except NotFoundError:
                pass
            self._joining.gone(job.vm_id, job.host)
        self._failpoints.hit("bait.unplace")
        if not kept:
            self._lrms.unplace(job.vm_id)
        self._introduced.discard(job.id)
        self._move(job, JobState.CLOSED)
        return None

    def _kept(self, job: Job) -> bool:
        """Return whether the VM of a finished job waits for another one of the same user."""
        taken = (other.vm for other in self._journal.active() if other.id != job.id)
        if job.vm_id in (*self._pool.keys(), *taken):
            return True  # before a restart: the placeholder under its id is another's by now
        if not self._pool.may_keep(job):
            return False
        self._lrms.unplace(job.vm_id)
        self._failpoints.hit("bait.reuse")
        self._pool.keep(job)
        return True

    def _settle(self, job: Job) -> Optional[float]:
        """Leave the LRMS's job as it has to be; None when that is done."""
        seen = self._sightings.fresh(job.lrms_id)
        if seen is None or seen.state in _OVER or not self._ours(job, seen):
            return None
        if seen.state not in (LrmsJobState.HELD, LrmsJobState.PENDING):
            return SOON_S
        assert job.original is not None
        if job.state is JobState.REFUSED:
            self._lrms.keep_held(job.lrms_id, job.original, self.mark(job, job.reason))
        else:
            failed = job.retry_after_s > 0
            mark = self.mark(job, job.reason, job.attempt + (1 if failed else 0))
            self._lrms.give_back(job.lrms_id, job.original, mark, job.retry_after_s, job.avoid_node)
        return None

    @staticmethod
    def _was(job: Job, state: JobState) -> bool:
        return any(move.state == state.value for move in job.history)


def fields(job: Job) -> Dict[str, str]:
    """Return what a log line about ``job`` carries."""
    return {"job": job.lrms_id, "vm": job.host, "image": job.request.tag}


def before_running(job: Job) -> bool:
    """Tell whether ``job`` still waits for its VM."""
    return job.state in JOB_BEFORE_RUNNING
