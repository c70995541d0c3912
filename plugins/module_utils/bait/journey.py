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

from ..engine.journal import Journal, Outdated
from ..hypervisor.api import HypervisorApi
from ..lrms.base import HostState, Lrms, LrmsJob, LrmsJobState, WorkerNode
from ..model.clock import Clock, Failpoints
from ..model.errors import NoRoomError, NotFoundError, RequestError, StateError
from ..model.job import Hold, Job
from ..model.mark import Mark
from ..model.phases import DIRECT, QUEUED, RELEASED, vm_phases
from ..model.states import JOB_BEFORE_RUNNING, JobState, VmState
from ..model.vm import GuestSetup, VmRequest, VmUser
from .config import BaitConfig
from .direct import Direct
from .drain import Drain
from .ending import LEFT, OVER, SOON_S, Ending
from .joining import Joining
from .limits import Limits
from .moves import Moves
from .pool import Pool
from .request import Grants, fields, groups, labels, printable, words
from .sightings import Sightings

log = logging.getLogger(__name__)

#: while a job whose VM is there leaves the node: nothing else is waited for
PRESENT_S = 0.02
#: between two looks whether a limit still stands
LIMIT_S = 2.0
NOW_S = 0.0
#: when the share of a job's VM was asked for
PLACED = "placed"
#: the last moment at which a job that had its VM waited for a limit
LIMITED = "limited"


class Journey(Moves):
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
        super().__init__(config, lrms, journal, clock, failpoints, moved)
        self._hypervisor, self._sightings = hypervisor, sightings
        self._grants, self._joining, self._pool, self._drain = grants, joining, pool, drain
        about = (config.host, lrms, hypervisor, journal, clock, failpoints, sightings, joining, pool)
        self._ending = Ending(*about, self.put, self._close)
        self.mark = self._ending.mark
        self._limits = Limits(lrms, journal)
        self._direct = Direct(config, grants, lrms, hypervisor, clock, failpoints, sightings, self, self.mark)
        self._introduced: Set[str] = set()
        #: jobs that were let go to their VMs since we began
        self._sent: Set[str] = set()
        self._handlers: Dict[JobState, Callable[[Job], Optional[float]]] = {
            JobState.RECEIVED: self._received,
            JobState.HELD: self._held,
            JobState.VM_REQUESTED: self._vm_requested,
            JobState.VM_READY: self._vm_ready,
            JobState.MIGRATING: self._migrating,
            JobState.RUNNING: self._running,
            **dict.fromkeys(
                (JobState.FINISHED, JobState.CANCELLED, JobState.RETURNED, JobState.REFUSED), self._ending.step
            ),
        }

    def step(self, key: str) -> Optional[float]:
        """Do the next thing for the job ``key``."""
        job = self._journal.get(key)
        if job is None or job.state is JobState.CLOSED:
            return None
        try:
            return self._handlers[job.state](job)
        except Outdated:  # the hook, for example, has moved it meanwhile
            return NOW_S

    def _close(self, job: Job) -> None:
        self._introduced.discard(job.id)
        self._sent.discard(job.id)
        self.ended_at.pop(job.lrms_id, None)
        self.move(job, JobState.CLOSED)

    def stop_bare(self, seen: LrmsJob, job: Job) -> bool:
        """A virtual job runs on the node itself: stop it at once. Return False where it had to be ended for good.

        :param job: a new record of ours, RECEIVED
        """
        reason = "it was started on the node itself, which let it by without asking; it was stopped at once"
        job = self.put(replace(job.moved(JobState.RETURNED, self._clock.now(), reason), original=seen.fixed))
        self._sightings.forget(seen.id)
        kept = self._lrms.requeue(seen, self.mark(job, reason))
        if not kept:
            self._lrms.cancel(seen, self.mark(job, reason, under_way=False))
        self.moved(job)
        return kept

    def _since(self, job: Job) -> float:
        """Return since when a job's state and the LRMS let it go on."""
        return max(job.history[-1].at, self.silent_at)

    def _look(self, job: Job, expected: LrmsJobState) -> Optional[LrmsJob]:
        """Return the LRMS's job; what is not as expected is read afresh, for nothing is decided on an old reading."""
        seen = self._sightings.last(job.lrms_id)
        return seen if seen is not None and seen.state is expected else self._sightings.fresh(job.lrms_id)

    def _gone(self, job: Job, seen: Optional[LrmsJob]) -> Optional[float]:
        """Move on a job that no longer waits for its VM; None while it does."""
        if seen is None or seen.state in OVER:
            return self.move(replace(job, settled=True), JobState.CANCELLED, "the job left the queue")
        if not self._ending.is_ours(job, seen.mark):
            return self.leave(job, "its mark was changed")
        if seen.state is LrmsJobState.PENDING and not job.released:
            return self._held_again(job, seen) or self._give_back(job, "it was released by someone else")
        if seen.state is LrmsJobState.RUNNING and seen.host != job.host:
            return self.leave(job, f"it was started on {seen.host}")
        if seen.hold is Hold.OWNER:
            return self._give_back(job, "its owner holds it", hold=Hold.OWNER)
        if self._drain.order is not None and not job.released:
            return self._give_back(job, self._drain.to_jobs)
        return None

    def _held_again(self, job: Job, seen: LrmsJob) -> Optional[float]:
        """Its owner has changed how nice it is, which made a priority of the one that holds it: hold it again.

        None where that is not what freed it.
        """
        original = job.original or {}
        if LEFT not in job.moments or seen.fixed.get("Nice") == original.get("Nice"):
            return None
        job = self.put(replace(job, original={**original, "Nice": seen.fixed.get("Nice", "")}))
        self._sightings.forget(job.lrms_id)
        self._lrms.stop(seen, self.mark(job))
        return SOON_S

    # on the bait

    def _received(self, job: Job) -> float:
        seen = self._look(job, LrmsJobState.RUNNING)
        if seen is None or seen.state in OVER:
            return self.move(replace(job, settled=True), JobState.CANCELLED, "the job left the queue")
        if job.original is None:
            moments = {QUEUED: seen.eligible} if seen.eligible else {}
            environment = self._lrms.environment(seen, job.restarts)
            job = self.put(replace(job, original=seen.fixed, moments=moments, environment=environment))
        if job.reason:
            self._stop(job, seen)
            return self.move(job, JobState.REFUSED)
        if self._drain.order is not None:
            self._stop(job, seen)
            return self._give_back(job, self._drain.to_jobs)
        wait_s = self.faults.wait_s(job.request.tag)
        if wait_s:
            elsewhere = self._lrms.others_serve(job.request.tag)
            self._stop(job, seen)
            return self._give_back(job, "VMs of its image fail on this node", wait_s, elsewhere)
        charge = self._config.overheads.charge(job.request.resources)
        if charge.memory_mib > self._pool.node_mib():
            return self._too_large(job, seen, charge.memory_mib)
        job = self.put(replace(job, limit=self._limits.of(job, seen)))
        if not job.placeholder and not job.limit:
            try:
                job = self._from_pool(job) or self._place(job, seen)
            except RequestError as error:
                self._stop(job, seen)
                return self.move(job, JobState.REFUSED, words(error))
        self._failpoints.hit("bait.place")
        self._stop(job, seen)
        return self.move(job, JobState.HELD)

    def _place(self, job: Job, seen: LrmsJob) -> Job:
        charge = self._config.overheads.charge(job.request.resources)
        moments = {**job.moments, PLACED: self._clock.now()}
        return self.put(replace(job, placeholder=self._lrms.place(job.id, charge, seen), moments=moments))

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
        job = self.put(replace(ours, placeholder=vm.placeholder))
        self._pool.given(vm)
        return job

    def _too_large(self, job: Job, seen: LrmsJob, needed_mib: int) -> float:
        largest = self._lrms.largest_node_mib(job.request.tag)
        self._stop(job, seen)
        if needed_mib <= largest:
            return self._give_back(job, f"its VM needs {needed_mib} MiB, too much for this node", avoid_node=True)
        asked = job.request.resources.memory_mib
        extra = needed_mib - asked
        return self.move(
            job,
            JobState.REFUSED,
            f"it asks for {asked} MiB and its VM needs {extra} MiB more, but no node has over {largest} MiB;"
            f" ask for at most {self._config.overheads.largest(largest)} MiB",
        )

    def _held(self, job: Job) -> float:
        if job.vm and job.id not in self._introduced:
            # while the job leaves the node
            try:
                self._hypervisor.setup(job.vm_id, GuestSetup((*self._lrms.accounts(job.user), *job.environment)))
            except (NotFoundError, StateError) as error:
                return self.fail(job, self._vm_lost(job) or str(error))
            self._introduced.add(job.id)
        found = self._sightings.all(filter(None, (job.lrms_id, job.placeholder)))
        seen, share = found.get(job.lrms_id), found.get(job.placeholder)
        if seen is not None and seen.state is LrmsJobState.RUNNING and seen.host == self._config.slurm.node:
            if not self._ending.is_ours(job, seen.mark):
                return self.leave(job, "its mark was changed")
            self._stop(job, seen)
            return SOON_S
        gone = self._gone(job, seen)
        if gone is not None:
            return gone
        assert seen is not None
        pause_s = PRESENT_S if job.vm else SOON_S
        if seen.state is not LrmsJobState.HELD:
            return pause_s
        if LEFT not in job.moments:
            # what it asks for is told in full only now: of a job that runs the LRMS says what it was given
            original = {**seen.fixed, "Requeue": (job.original or seen.fixed)["Requeue"]}
            job = self.put(replace(job, original=original, moments={**job.moments, LEFT: self._clock.now()}))
        if job.limit:
            return self._while_limited(job, seen)
        after = self._with_share(job, share)
        return pause_s if after is None else after

    def _while_limited(self, job: Job, seen: LrmsJob) -> float:
        limit = self._limits.of(job, seen)
        if not limit:
            # others of its kind have to see that it goes on, before its share is taken
            self._lrms.stop(seen, self.mark(replace(job, limit="")))
            self._place(replace(job, limit=""), seen)
            return NOW_S
        if limit != job.limit:
            self.put(replace(job, limit=limit))
        return LIMIT_S

    def _with_share(self, job: Job, share: Optional[LrmsJob]) -> Optional[float]:
        """Go on as soon as the node's share of the VM is taken; None while it is not."""
        if share is None or share.state in OVER:
            return self._crowded(job, "its placeholder ended")
        if share.state is LrmsJobState.RUNNING:
            if job.vm:
                return self.move(job, JobState.MIGRATING)
            self._pool.make_room()
            return self.move(job, JobState.VM_REQUESTED)
        since = max(job.moments[LEFT], job.moments.get(PLACED, 0.0), self.silent_at)
        if self._clock.since(since) > self._config.place_timeout_s:
            return self._crowded(job, "the node has no room for its VM now")
        return None

    def _named(self, job: Job) -> Job:
        """Return ``job`` with the name its user gave it."""
        return job if job.name else self.put(replace(job, name=printable(self._lrms.name(job.lrms_id))))

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
        except NoRoomError as error:
            return self._crowded(job, str(error))
        except RequestError as error:
            if asked.tag in self._hypervisor.status().tags:
                return self.move(job, JobState.REFUSED, words(error))
            return self.fail(job, words(error))  # not the request is wrong: this node has no such image
        if vm.state is VmState.READY:
            self.faults.succeeded(asked.tag)
            known = replace(job, host=vm.name, address=vm.address, path=vm.path, vm_seconds=vm_phases(vm))
            return self.move(known, JobState.VM_READY)
        if vm.state in (VmState.BROKEN, VmState.GONE, VmState.RECYCLING):
            return self.fail(job, vm.reason or f"its VM is {vm.state.value}")
        if self._clock.is_late(self._since(job), self._config.vm_timeout_s):
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
            job = self.put(replace(job, joined=True))
        host = WorkerNode(job.host, job.address, job.request.resources, job.request.tag)
        state = self._joining.step(job.id, host, (*self._lrms.accounts(job.user), *job.environment))
        if state is HostState.READY:
            return self.move(job, JobState.MIGRATING)
        if state is HostState.CLOSED:
            return SOON_S
        if self._clock.is_late(self._since(job), self._config.join_timeout_s):
            return self.fail(
                job, f"its VM did not join the LRMS within {self._config.join_timeout_s:g} s ({state.value})"
            )
        return SOON_S

    # to the VM

    def _migrating(self, job: Job) -> float:
        # a reading from before it was let go would take our hold for an administrator's
        seen = self._look(job, LrmsJobState.PENDING if job.id in self._sent else LrmsJobState.HELD)
        if seen is not None and job.released and seen.state in OVER and seen.host == job.host:
            return self.finish(job, seen)
        gone = self._gone(job, seen)
        if gone is not None:
            return gone
        assert seen is not None
        if seen.state is LrmsJobState.RUNNING:
            return self.move(replace(job, limit=""), JobState.RUNNING)
        lost = self._vm_lost(job)
        if lost:
            return self.fail(job, lost)
        if seen.impossible and job.id in self._sent:
            return self._impossible(job, seen)
        if seen.state is LrmsJobState.HELD:
            if job.id in self._sent:
                return self._give_back(job, "an administrator holds it", hold=Hold.ADMINISTRATOR)
            return self._send(job, seen)
        if job.stops and seen.restarts > job.restarts + job.stops:
            return self._put_back_by_others(job, seen)  # it has run already, for a moment that we did not see
        if seen.limited:
            return self._await_limit(job, seen)
        if self._lrms.host(job.host) in (HostState.CLOSED, HostState.DOWN):
            return self.fail(job, "the LRMS closed its VM: prolog or slurmd failed there")
        since = max(self._since(job), job.moments.get(LIMITED, 0.0))
        if self._clock.is_late(since, self._config.join_timeout_s):
            why = f" ({seen.reason})" if seen.reason else ""
            return self.fail(job, f"it did not start on its VM within {self._config.join_timeout_s:g} s{why}")
        return SOON_S

    def _impossible(self, job: Job, seen: LrmsJob) -> float:
        changed = seen.reshaped(job.original or {})
        if changed:
            return self._give_back(job, f"its {', '.join(changed)} changed while it was held")
        return self.move(job, JobState.REFUSED, f"no VM for it is what it asks for ({seen.reason})")

    def _await_limit(self, job: Job, seen: LrmsJob) -> float:
        """The job has its VM, but its LRMS may not start it yet, wherever: no fault of anybody's."""
        if self._clock.since(self._since(job)) > self._config.limit_timeout_s:
            return self._give_back(job, f"it waits for {seen.reason}")
        self.put(replace(job, limit=seen.reason, moments={**job.moments, LIMITED: self._clock.now()}))
        return LIMIT_S

    def _send(self, job: Job, seen: LrmsJob) -> float:
        before = job.original or {}
        changed = seen.reshaped(before)
        if changed:
            return self._give_back(job, f"its {', '.join(changed)} changed while it was held")
        if not job.vm:
            self._hypervisor.use(job.vm_id)
        if not job.released:
            # what its owner has changed meanwhile stays
            original = {**seen.fixed, "Requeue": before["Requeue"]}
            moments = {**job.moments, RELEASED: self._clock.now()}
            job = self.put(replace(job, original=original, released=True, moments=moments))
        self._failpoints.hit("bait.send")
        self._sightings.forget(job.lrms_id)
        self._lrms.send(seen, job.host, job.original or {}, self.mark(job))
        self._sent.add(job.id)
        return SOON_S

    def _running(self, job: Job) -> float:
        if job.path == DIRECT and not job.placeholder:
            return self._direct.settle_in(job)
        if not job.sealed:
            self._lrms.close_host(job.host)
            job = self.put(replace(job, sealed=True))
        seen = self._look(job, LrmsJobState.RUNNING)
        if seen is None or seen.state in OVER:
            return self.finish(job, seen)
        if seen.state in (LrmsJobState.PENDING, LrmsJobState.HELD):
            return self._put_back_by_others(job, seen)
        if seen.state is LrmsJobState.COMPLETING:
            return SOON_S
        lost = self._vm_lost(job)
        if lost:
            log.warning("VM of a running job is lost: %s", lost, extra=fields(job))
            self.put(replace(job, lost=lost))
            self._lrms.fail_host(job.host, lost)
            return SOON_S
        if self._drain.ends_jobs and self._lrms.requeue(seen, self.mark(job, self._drain.to_jobs)):
            self._sightings.forget(job.lrms_id)
            return self._give_back(job, self._drain.to_jobs)
        return self._config.heartbeat_s

    def _put_back_by_others(self, job: Job, seen: LrmsJob) -> float:
        if job.lost:
            return self._broke(job)
        mark = Mark.parse(seen.mark)
        ours = mark is not None and mark.id == job.id and mark.reason == self._drain.to_jobs != ""
        hold = Hold.NOBODY if ours else seen.hold
        return self._give_back(job, "it was put back into the queue while it ran", hold=hold)


def before_running(job: Job) -> bool:
    """Tell whether ``job`` still waits for its VM."""
    return job.state in JOB_BEFORE_RUNNING
