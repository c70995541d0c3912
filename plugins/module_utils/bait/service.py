# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wnodes-bait: takes virtual jobs from the hook, moves them to their VMs, keeps the node's books and its open sign."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import Any, Callable, Dict, List, Optional, Protocol, Tuple

from .. import support
from ..directory.base import Heartbeat
from ..engine.journal import Journal
from ..engine.pulse import Pulse
from ..engine.reconciler import Reconciler
from ..hypervisor.api import HypervisorApi
from ..lrms.base import Lrms, LrmsJob, LrmsJobState, Wish
from ..model.clock import Clock, Failpoints
from ..model.endpoint import reachable
from ..model.errors import LrmsError, LrmsRefused, NotFoundError, RequestError, WnodesError
from ..model.job import Answer, Dispatch, Job, JobRequest
from ..model.phases import DIRECT, QUEUED
from ..model.pool import PoolVm
from ..model.resources import Resources
from ..model.states import JobState
from ..model.vm import VmEvent
from ..support import Part
from . import request
from .bare import BareRuns
from .config import BaitConfig
from .drain import Drain, DrainWish, Order
from .explain import explain
from .joining import Joining
from .journey import Journey, before_running
from .pool import Pool
from .rescue import Rescue
from .rules import Rules
from .shares import Shares
from .sightings import Sightings

log = logging.getLogger(__name__)

WORKERS = 4
EVENTS_WAIT_S = 25.0
#: the hook waits longer than this, then it helps itself
DISPATCH_LIMIT_S = 15.0
#: how often the node's own word on what runs there is looked at, in seconds
BARE_LOOK_S = 1.0
#: how often jobs are looked for that nobody looks after, in seconds
RESCUE_LOOK_S = 60.0
#: how much of a node's past its heartbeat tells
TOLD_JOBS = 50

RUN, STOPPED = Answer("run"), Answer("stopped")


class SiteDirectory(Protocol):
    """What the bait needs of the nameserver."""

    def beat(self, heartbeat: Heartbeat) -> None:
        """See ``Directory.beat``."""

    def heartbeats(self) -> Tuple[Heartbeat, ...]:
        """See ``Directory.heartbeats``."""


def nothing(_job: Job) -> None:
    """Do nothing about a job."""


class Bait:
    """The service without its sockets.

    ``start`` begins the threads; without it ``dispatch`` and ``tick`` can be called by hand (tests, simulator).

    :param observe: called with each job that has come into another state; it must return at once
    :param rules: the site's
    """

    def __init__(
        self,
        config: BaitConfig,
        lrms: Lrms,
        hypervisor: HypervisorApi,
        directory: SiteDirectory,
        journal: Journal[Job],
        pool: Journal[PoolVm],
        drains: Journal[Order],
        clock: Optional[Clock] = None,
        failpoints: Optional[Failpoints] = None,
        observe: Callable[[Job], None] = nothing,
        rules: Optional[Rules] = None,
    ) -> None:
        self.config, self.lrms, self.hypervisor, self.directory, self.journal = (
            config,
            lrms,
            hypervisor,
            directory,
            journal,
        )
        self.clock, self.failpoints = clock or Clock(), failpoints or Failpoints()
        self._observe, self._grants = observe, request.Grants(config, rules or Rules())
        self._problems: Dict[str, str] = {}
        self._tags: Tuple[str, ...] = ()
        self._errors: Dict[str, str] = {}
        self._event = 0
        self._beat_now, self._stop = threading.Event(), threading.Event()
        self._threads: List[threading.Thread] = []
        self._sightings = Sightings(lrms, self.clock, config.poll_s)
        self._order, self._gate = Drain(drains, self.clock), threading.Lock()
        #: jobs on the node that are not ours; None: not known
        self._others: Optional[int] = None
        joining = Joining(lrms, hypervisor, self.failpoints)
        seams = (config, lrms, hypervisor, joining)
        self.pool = Pool(*seams, pool, journal.all, self._begin, self._order, self.clock, self.failpoints)
        self.journey = Journey(
            config,
            self._grants,
            lrms,
            hypervisor,
            journal,
            self.clock,
            self.failpoints,
            self._sightings,
            joining,
            self.pool,
            self._order,
            self._moved,
        )
        self.reconciler = Reconciler(self._step, self.clock, self._step_failed, label=self._label)
        #: what drives this service, and whether it goes on
        self.pulse = Pulse()
        self.pulse.watch("job", self.reconciler.vitals)
        self.pulse.watch("pool", self.pool.reconciler.vitals)
        self._shares = Shares(config, lrms, journal, self.pool)
        self.bare = BareRuns(config, lrms, self._grants, journal, self.journey, self.clock)
        self.rescue = Rescue(config, lrms, directory, journal, self.clock, self._moved)

    def _moved(self, job: Job) -> None:
        self._beat_now.set()
        self._observe(job)
        self.reconciler.wake(job.id)  # whoever moved it, its next step is due

    def _step(self, key: str) -> Optional[float]:
        after = self.journey.step(key)
        self._errors.pop(key, None)
        return after

    def _label(self, key: str) -> str:
        job = self.journal.get(key)
        return f"job {job.lrms_id}" if job else key

    def _step_failed(self, key: str, error: Exception) -> None:
        job = self.journal.get(key)
        self._errors[key] = str(error)
        if isinstance(error, LrmsError) and not isinstance(error, LrmsRefused):
            self.journey.silent_at = self.clock.now()
            return
        needs_vm = (JobState.VM_REQUESTED, JobState.VM_READY, JobState.MIGRATING)
        if job is not None and (job.state in needs_vm or (job.vm and job.state is JobState.HELD)):
            # a VM that can't be had for too long is a failed VM, whatever the error
            config = self.config
            limit = config.vm_timeout_s if job.state is JobState.VM_REQUESTED else config.join_timeout_s
            if self.clock.is_late(job.history[-1].at, limit):
                self.journey.fail(job, str(error))

    # from the hook

    def dispatch(self, dispatch: Dispatch) -> Optional[Answer]:
        """Decide about a job the LRMS is about to start here.

        Return None where no decision could be made in time: the hook then puts a virtual job back by itself.
        """
        if dispatch.event != "prolog":
            self._wake_lrms_job(dispatch.job_id)
            return RUN
        placeholder = self.lrms.placeholder_key(dispatch)
        if placeholder:
            self.reconciler.wake(placeholder)
            return RUN
        refusal = ""
        wish = None
        try:
            wish = self.lrms.wish(request.readable(dispatch), self._grants.default_image)
        except RequestError as error:
            refusal = request.words(error)
        if wish is None and not refusal:
            self._forget(dispatch.job_id, "it asks for no VM any more")
            self.bare.let_run(dispatch.job_id)
            self.pool.make_room()
            return RUN
        job = self._receive(dispatch, wish, refusal)
        return self._hold(job)

    def _begin(self, vm: PoolVm, seen: LrmsJob) -> None:
        """Take up a job that the LRMS has sent straight to a VM that was offered to it."""
        if any(job.vm == vm.id for job in self.journal.active()):
            return
        now = self.clock.now()
        job = request.received(
            seen,
            vm.request,
            now,
            original=seen.fixed,
            joined=True,
            released=True,
            host=vm.host,
            address=vm.address,
            vm=vm.id,
            path=DIRECT,
            moments={QUEUED: seen.eligible} if seen.eligible else {},
        )
        self._moved(self.journal.put(job.moved(JobState.RUNNING, now)))
        log.info("sent straight to its VM", extra=request.fields(job))

    def _forget(self, lrms_id: str, reason: str) -> None:
        for old in self.journal.active():
            if old.lrms_id == lrms_id and before_running(old):
                self.journey.leave(old, reason)

    def _receive(self, dispatch: Dispatch, wish: Optional[Wish], refusal: str) -> Job:
        seen = self._sightings.fresh(dispatch.job_id)
        if seen is None:
            raise NotFoundError(object=f"job {dispatch.job_id}", reason="is not known to the LRMS")
        for job in self.journal.active():
            if job.lrms_id == seen.id and job.state is JobState.RECEIVED:
                return job
        self._forget(seen.id, "it was dispatched again")
        tag = self._chosen(wish) if wish else ""
        granted = request.Granted(JobRequest(tag, Resources(seen.resources.cpus, seen.resources.memory_mib)), {})
        try:
            if wish is not None:
                granted = self._grants.granted(replace(wish, tag=tag), seen, self.pool.node_mib)
        except RequestError as error:
            refusal = request.words(error)
        known = {**request.told_by(seen), "reason": refusal, "ruled": granted.ruled}
        return self.journal.put(request.received(seen, granted.request, self.clock.now(), **known))

    def _chosen(self, wish: Wish) -> str:
        """Return the image that is warm, where several would do; else the first one that this node has."""
        tags = (wish.tag, *wish.others)
        if len(tags) == 1:
            return wish.tag
        warm = [tag for tag in tags if self.pool.waits_for(tag)]
        return next(iter([*warm, *(tag for tag in tags if tag in self._tags), wish.tag]))

    def _hold(self, job: Job) -> Optional[Answer]:
        deadline = self.clock.now() + DISPATCH_LIMIT_S
        while self.clock.now() < deadline and not self._stop.is_set():
            self.reconciler.run_now(job.id)
            current = self.journal.get(job.id)
            if current is None or current.state is not JobState.RECEIVED:
                self.reconciler.wake(job.id)
                return STOPPED
            self._stop.wait(0.5)
        return None

    # what is said to us

    def _wake_lrms_job(self, lrms_id: str) -> None:
        for job in self.journal.active():
            seen = self._sightings.known(job.lrms_id)
            if lrms_id in (job.lrms_id, seen.number if seen else ""):
                self._sightings.forget(job.lrms_id)
                self.reconciler.wake(job.id)

    def poll(self) -> None:
        """Ask the LRMS about all our jobs at once and wake those that changed."""
        active = self.journal.active()
        if not active:
            return
        changed = self._sightings.changed(job.lrms_id for job in active)
        for job in active:
            if job.lrms_id in changed:
                self.reconciler.wake(job.id)

    def listen(self, timeout_s: float) -> None:
        """Wait for the hypervisor's next events and wake the jobs they are about."""
        for event in self.hypervisor.events(self._event, timeout_s):
            self._event = event.seq
            self.pool.wake(event.vm)
            for job in self.journal.active():
                if job.vm_id == event.vm:
                    self._told(job, event)
                    self.reconciler.wake(job.id)

    def _told(self, job: Job, event: VmEvent) -> None:
        if event.kind == "guest":
            self._sightings.forget(job.lrms_id)
            if event.data.get("event") == "end":
                self.journey.ended_at[job.lrms_id] = self.clock.now()

    def heartbeat(self) -> None:
        """Check what we stand on, open or close the node accordingly, and tell the nameserver."""
        try:
            below = self.hypervisor.status()
            self._tags = below.tags or self._tags
            self._note("hypervisor", "" if below.ok else "; ".join(below.problems))
        except WnodesError as error:
            self._note("hypervisor", f"the hypervisor does not answer: {error}")
        self._attempt("lrms", self._look_after_node)
        self._attempt("nameserver", lambda: self.directory.beat(Heartbeat("bait", self.config.host, 0.0, self._beat())))

    def _beat(self) -> Dict[str, Any]:
        # it is the nameserver that is told, so what is wrong with it is not worth telling
        told = self.status()
        problems = [problem for problem in told["problems"] if not problem.startswith("nameserver: ")]
        faults = [problem for problem in self._told_problems() if not problem.startswith("nameserver: ")]
        return {**told, "ok": not faults, "problems": problems}

    def _open_or_close(self) -> None:
        # one at a time: what was true before an order came must not be advertised after it
        with self._gate:
            problem = "; ".join(filter(None, (self._order.reason, self._problems.get("hypervisor", ""))))
            # before the first word from the hypervisor nothing is known: what is advertised stays
            if self._tags or self._order.reason:
                self.lrms.advertise(self._tags or None, problem)
            if self._order.reason:
                ours = {*self.lrms.placeholders().values(), *(job.lrms_id for job in self.journal.active())}
                self._others = sum(job.id not in ours for job in self.lrms.jobs_on(self.config.slurm.node))

    def _look_after_node(self) -> None:
        self.lrms.adopt({job.lrms_id for job in self.journal.active()})
        self._open_or_close()
        self._shares.look_after()

    def _attempt(self, name: str, action: Callable[[], None]) -> None:
        try:
            action()
            self._note(name, "")
        except WnodesError as error:
            self._note(name, str(error))

    def _note(self, name: str, problem: str) -> None:
        if problem != self._problems.get(name, ""):
            log.warning("%s: %s", name, problem or "well again")
        self._problems[name] = problem

    # from an administrator

    def drain(self, wish: DrainWish, who: str) -> Dict[str, Any]:
        """Take no more jobs until ``undrain``; return what ``status`` tells of it, and whether that is new.

        :raises RequestError: the wish makes no sense
        """
        changed = self._order.give(wish, who)
        self.failpoints.hit("bait.drain")
        if changed:
            log.warning("%s", self._order.reason)
            self._others = None
            for job in self.journal.active():
                self.reconciler.wake(job.id)
        return self._ordered(changed)

    def undrain(self) -> Dict[str, Any]:
        """Take jobs again; return whether that is new."""
        changed = self._order.lift()
        if changed:
            log.warning("no longer drained")
        return self._ordered(changed)

    def _ordered(self, changed: bool) -> Dict[str, Any]:
        self._attempt("lrms", self._open_or_close)
        self.pool.make_room()
        self._beat_now.set()
        return {"changed": changed, "drain": self._drained(), "problems": self._told_problems()}

    def _drained(self) -> Optional[Dict[str, Any]]:
        others = None if self._problems.get("lrms") else self._others
        jobs = None if others is None else others + len(self.journal.active())
        return self._order.told(jobs, len(self.pool.keys()))

    # threads

    def start(self) -> None:
        """Take up all jobs of the journal and begin to work."""
        for job in self.journal.active():
            self.reconciler.wake(job.id)
        self.reconciler.start(WORKERS, "job")
        self.pool.start()
        self._thread("poll", lambda: self._stop.wait(self.config.poll_s), self.poll)
        self._thread("events", lambda: None, lambda: self.listen(EVENTS_WAIT_S))
        self._thread("heartbeat", self._wait_for_beat, self.heartbeat)
        self._thread("bare", lambda: self._stop.wait(BARE_LOOK_S), self.bare.look)
        self._thread("rescue", lambda: self._stop.wait(RESCUE_LOOK_S), self.rescue.look)

    def _wait_for_beat(self) -> None:
        self._beat_now.wait(self.config.heartbeat_s)
        self._beat_now.clear()

    def _thread(self, name: str, wait: Callable[[], Any], action: Callable[[], None]) -> None:
        pulse = self.pulse.loop(name)

        def loop() -> None:
            while not self._stop.is_set():
                pulse.beat()
                try:
                    action()
                except WnodesError as error:
                    pulse.failed()
                    log.debug("%s: %s", name, error)
                    self._stop.wait(1.0)
                except Exception:  # a thread that ends unseen would leave the node half alive
                    pulse.failed()
                    log.exception("%s failed", name)
                    self._stop.wait(5.0)
                wait()

        thread = threading.Thread(target=loop, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def stop(self) -> None:
        """End; jobs and VMs go on, the journal knows them."""
        self._stop.set()
        self._beat_now.set()
        self.reconciler.stop()
        self.pool.stop()

    # for people

    def jobs(self, ended: Optional[int] = None) -> List[Dict[str, Any]]:
        """Return the jobs of the journal, oldest first, as plain data (see ``explain``).

        :param ended: the most that are told of those that have ended, the last ones; None: all
        """
        now, jobs = self.clock.now(), self.journal.all()
        if ended is not None:
            over = [job.id for job in jobs if job.state is JobState.CLOSED]
            left_out = set(over[: max(0, len(over) - ended)])
            jobs = [job for job in jobs if job.id not in left_out]
        return [
            {**explain(job, now, self._native(job)), "bait": self.config.host, "error": self._errors.get(job.id, "")}
            for job in jobs
        ]

    def limited(self) -> int:
        """Return how many jobs wait for a limit of the LRMS."""
        return sum(bool(job.limit) for job in self.journal.active())

    def _native(self, job: Job) -> str:
        """Return the LRMS's own word for what a job waits for; empty where it has none."""
        seen = None if job.state is JobState.CLOSED else self._sightings.known(job.lrms_id)
        return job.limit or (seen.reason if seen and seen.state is LrmsJobState.PENDING else "")

    def evidence(self) -> Dict[str, Part]:
        """Return what goes into a support bundle of this node besides what every service tells."""
        asked = {f"{name}.txt": support.command(*argv) for name, argv in self.lrms.inquiries().items()}
        return {
            "status.json": support.data(self.status),
            "config.json": support.data(lambda: self.config),
            "waiting.json": support.data(self.pool.all),
            **asked,
        }

    def status(self) -> Dict[str, Any]:
        """Return ``{"ok", "problems", "tags", "jobs", "pool", "drain", "manage"}``."""
        problems = self._told_problems()
        # told, but no reason to take no jobs: without a waiting VM they only wait longer
        told = [*problems, *filter(None, (self.pool.problem, self.bare.problem())), *self.journey.faults.problems()]
        jobs, pool = self.jobs(TOLD_JOBS), self.pool.described()
        told_of = {"problems": told, "tags": list(self._tags), "jobs": jobs, "pool": pool, "drain": self._drained()}
        return {"ok": not problems, **told_of, "manage": reachable(self.config.manage_listen, self.config.host)}

    def _told_problems(self) -> List[str]:
        return [f"{name}: {problem}" for name, problem in self._problems.items() if problem]
