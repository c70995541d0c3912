# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs that wait for jobs, complete: leased, connected, registered, in reservations of root's.

They are off the node's books: they have what jobs leave free, and go when jobs need it. A job that takes one brings its
share with it: the placeholder is submitted beforehand and let go as the job is stopped. From then on the VM is the
job's alone; the pool makes another one.

VMs that are offered are on the books, by placeholders that give way to jobs: the LRMS sends jobs straight to them, and
ends a placeholder whose room it needs.
"""

from __future__ import annotations

import collections
import logging
import threading
import uuid
from dataclasses import astuple, replace
from typing import Any, Callable, Deque, Dict, Iterable, List, Optional, Sequence, Tuple

from ..engine.backoff import backoff
from ..engine.journal import Journal, Outdated
from ..engine.reconciler import Reconciler
from ..hypervisor.api import HypervisorApi
from ..lrms.base import HostState, Lrms, LrmsJob, WorkerNode
from ..model.clock import Clock, Failpoints
from ..model.errors import NoRoomError, NotFoundError, RequestError, StateError, UnavailableError
from ..model.job import Job, JobRequest
from ..model.phases import flavour
from ..model.pool import PoolVm, fits, learnt, plan, refill_s
from ..model.resources import Resources
from ..model.states import JobState, PoolState, VmState
from ..model.vm import VmRequest, VmUser
from .config import BaitConfig
from .drain import Drain
from .joining import Joining
from .offer import ROOM_S, Offers
from .reuse import may_wait_again, waiting_again

log = logging.getLogger(__name__)

#: the key of the step that compares what there is with what there should be; VMs' ids begin otherwise
BALANCE = ":balance"
PREFIX = "pool-"
SOON_S = 0.2
#: seconds between two looks at a VM that waits; its loss is an event
LOOK_S = 15.0
#: seconds for which a job that has just taken a VM has the node to itself, before the next VM is made
HAND_OVER_S = 2.0
#: how long making a VM takes while none has been made yet, in seconds
FIRST_REFILL_S = 30.0
WORKERS = 2
_HERE = (PoolState.COMING, PoolState.JOINING, PoolState.WAITING)


def is_over(vm: PoolVm) -> bool:
    """Return whether a VM is the pool's no more."""
    return vm.state is PoolState.GONE


def was_refused(job: Job) -> bool:
    """Return whether what ``job`` asked for can't be had."""
    return any(move.state == JobState.REFUSED.value for move in job.history)


class Pool:
    """Keeps VMs waiting.

    :param joining: how VMs become hosts
    :param jobs: returns the bait's jobs, those that are over too
    :param begun: told of a job that the LRMS has sent straight to a VM; from then on the VM is its
    """

    def __init__(
        self,
        config: BaitConfig,
        lrms: Lrms,
        hypervisor: HypervisorApi,
        joining: Joining,
        journal: Journal[PoolVm],
        jobs: Callable[[], Iterable[Job]],
        begun: Callable[[PoolVm, LrmsJob], None],
        drain: Drain,
        clock: Clock,
        failpoints: Failpoints,
    ) -> None:
        self._config, self._lrms, self._hypervisor, self._joining = config, lrms, hypervisor, joining
        self._journal, self._jobs, self._clock, self._failpoints = journal, jobs, clock, failpoints
        self._drain, self._offers = drain, Offers(lrms, self._charge, begun)
        self._lock = threading.RLock()
        self._quiet_until, self._memory_mib = 0.0, 0
        self._made: Deque[float] = collections.deque(maxlen=100)
        #: how often VMs failed in a row, when the next one may be made, and why the last one failed
        self._failed: Dict[JobRequest, Tuple[int, float, str]] = {}
        self._targets: Dict[JobRequest, int] = {}
        self.reconciler = Reconciler(self.step, clock, self._step_failed, label=lambda key: key.lstrip(":"))
        self._steps: Dict[PoolState, Callable[[PoolVm], Optional[float]]] = {
            PoolState.COMING: self._coming,
            PoolState.JOINING: self._joins,
            PoolState.WAITING: self._waits,
            PoolState.TAKEN: self._taken_by,
            PoolState.LEAVING: self._leaves,
        }

    @property
    def wanted(self) -> bool:
        """Whether VMs shall wait here, or any still do."""
        pool = self._config.pool
        return bool(pool.flavours or pool.learn or self._journal.active())

    @property
    def problem(self) -> str:
        """Why there are fewer than there should be; empty: all is well."""
        failed = self._failed.copy()
        return next((failed[kind][2] for kind in self._targets if kind in failed), "")

    def start(self) -> None:
        """Begin to work, in threads."""
        self.resume()
        self.reconciler.start(WORKERS, "pool")

    def resume(self) -> None:
        """Take up what the journal says was under way."""
        for vm in self._journal.active():
            self.reconciler.wake(vm.id)
        self.reconciler.wake(BALANCE)

    def stop(self) -> None:
        """End; VMs go on waiting, the journal knows them."""
        self.reconciler.stop()

    def make_room(self) -> None:
        """Jobs may need the room of VMs that wait: look at once."""
        if self.wanted:
            self.reconciler.wake(BALANCE)

    def wake(self, vm_id: str) -> None:
        """Something happened to a VM."""
        if self._journal.get(vm_id) is not None:
            self.reconciler.wake(vm_id)

    def keys(self) -> Tuple[str, ...]:
        """Return the keys under which placeholders are kept for VMs of the pool."""
        return tuple(vm.id for vm in self._journal.active())

    def waiting_keys(self) -> Tuple[str, ...]:
        """Return the keys of those whose placeholders wait as they do."""
        there = self._journal.active()
        return tuple(vm.id for vm in there if vm.state is PoolState.WAITING and not vm.offered)

    def lost_share(self, key: str) -> None:
        """The placeholder of a VM that waits is gone: a job that takes the VM could not bring its share along."""
        with self._lock:
            vm = self._journal.get(key)
            if vm is not None and vm.state is PoolState.WAITING:
                self._leave(vm, "its placeholder is gone")

    def all(self) -> List[PoolVm]:
        """Return the VMs, those that are gone too."""
        return self._journal.all()

    def described(self) -> List[Dict[str, Any]]:
        """Return ``{"tag", "flavour", "target", "waiting", "coming", "used"}`` of each kind of VM.

        ``used`` ones wait for another job of their user; they are not counted as ``waiting``.
        """
        there = [vm for vm in self._journal.active() if vm.state in _HERE]
        kinds = {**self._targets, **{vm.request: self._targets.get(vm.request, 0) for vm in there}}
        told = []
        for kind, target in kinds.items():
            used = sum(vm.request == kind and bool(vm.user) for vm in there)
            waiting = sum(vm.request == kind and vm.state is PoolState.WAITING and not vm.user for vm in there)
            coming = sum(vm.request == kind for vm in there) - waiting - used
            counts = {"target": target, "waiting": waiting, "coming": coming, "used": used}
            told.append({"tag": kind.tag, "flavour": flavour(kind.resources), **counts})
        return told

    def node_mib(self) -> int:
        """Return the memory (MiB) that the LRMS gives to jobs of this node."""
        if not self._memory_mib:
            self._memory_mib = self._lrms.room().total.memory_mib
        return self._memory_mib

    # for jobs

    def waits_for(self, tag: str) -> bool:
        """Return whether a VM of the image waits."""
        return any(vm.state is PoolState.WAITING and vm.request.tag == tag for vm in self._journal.active())

    def take(self, job: Job, user: VmUser) -> Optional[PoolVm]:
        """Return a VM that is right for ``job`` and nobody else's from now on; None where there is none.

        Asking again gives the same one, until ``given`` tells that the job's own record names it.
        """
        with self._lock:
            vm = self._find(job)
            if vm is None:
                return None
            if vm.state is PoolState.WAITING:
                vm = self._move(replace(vm, job=job.id), PoolState.TAKEN)
                self._failpoints.hit("bait.take")
        try:
            self._hypervisor.use(vm.id, user)
        except (RequestError, UnavailableError) as error:
            # where it is in use nevertheless, its next look finds out
            log.info("waiting VM is not for %s: %s", user.owner, error, extra={"job": job.lrms_id, "vm": vm.host})
            self._move(replace(vm, job=""), PoolState.WAITING)
            return None
        except (NotFoundError, StateError) as error:
            self._leave(vm, str(error))
            return None
        self._quiet_until = max(self._quiet_until, self._clock.now() + HAND_OVER_S)
        return vm

    def _find(self, job: Job) -> Optional[PoolVm]:
        there = self._journal.active()
        mine = [vm for vm in there if vm.state is PoolState.TAKEN and vm.job == job.id]
        good = [vm for vm in there if vm.state is PoolState.WAITING and not vm.offered and vm.user in ("", job.user)]
        good = [vm for vm in good if fits(vm.request, job.request)]
        # the user's own first, then the smallest, then the one that has waited longest
        good.sort(key=lambda vm: (not vm.user, astuple(vm.request.resources), vm.born))
        return next(iter(mine + good), None)

    def given(self, vm: PoolVm) -> None:
        """The record of the job that took ``vm`` names it."""
        with self._lock:
            # its own step may have seen that already
            if vm.id in self.keys():
                self._move(vm, PoolState.GONE)
        self.reconciler.wake(BALANCE, HAND_OVER_S)

    def may_keep(self, job: Job) -> bool:
        """Return whether the VM of a job that has ended may see another one of the same user."""
        known = self._journal.get(job.vm_id)
        if not may_wait_again(self._config.pool, job, known, self._clock.now()):
            return False
        try:
            return self._hypervisor.get(job.vm_id).state is VmState.IN_USE
        except NotFoundError:
            return False

    def keep(self, job: Job) -> None:
        """Take back the VM of a job that has ended: from now on it is the pool's. Its placeholder must be gone."""
        known = self._journal.get(job.vm_id)
        vm = waiting_again(job, self._hypervisor.get(job.vm_id), known, self._clock.now())
        self._journal.put(vm)
        self.reconciler.wake(vm.id)

    # what there should be

    def balance(self) -> float:
        """Compare what there is with what there should be, and begin to make it so."""
        if not self.wanted:
            self._targets = {}
            return self._config.heartbeat_s
        room, now = self._lrms.room(), self._clock.now()
        is_open = room.open and self._drain.order is None
        self._targets = self._wished() if is_open else {}
        with self._lock:
            there = [vm for vm in self._journal.active() if vm.state is not PoolState.TAKEN]
            ready = {request: count for request, count in self._targets.items() if self._may_try(request, now)}
            keep = {vm.request: self._targets.get(vm.request, 0) for vm in there}
            todo = plan({**keep, **ready}, there, self._room_of(there, room.free), self._charge)
            leave = dict(todo.leave)
            if not is_open:
                leave.update({vm.id: "the node takes no jobs" for vm in there if vm.state in _HERE})
            for vm_id, reason in leave.items():
                vm = self._journal.get(vm_id)
                if vm is not None:
                    self._leave(vm, reason)
        if any(reason == "jobs need its room" for _vm, reason in todo.leave):
            self._quiet_until = max(self._quiet_until, now + self._config.pool.calm_s)
        if now >= self._quiet_until:
            for request in todo.make:
                if request in ready:
                    self._make(request)
        left = self._quiet_until - now
        return min(self._config.heartbeat_s, left) if left > 0 else self._config.heartbeat_s

    def _room_of(self, there: Sequence[PoolVm], free: Resources) -> Resources:
        """Return what all VMs that wait may have together: what is free, and what offered ones hold of the books."""
        held = [self._charge(vm.request.resources) for vm in there if vm.offered and vm.state is PoolState.WAITING]
        cpus, memory = sum(share.cpus for share in held), sum(share.memory_mib for share in held)
        return Resources(free.cpus + cpus, free.memory_mib + memory)

    def _wished(self) -> Dict[JobRequest, int]:
        pool, mounts = self._config.pool, self._config.mounts
        default = self._config.default_scratch_mib
        sizes = [(f, Resources(f.cpus, f.memory_mib, f.scratch_mib or default)) for f in pool.flavours]
        fixed = {JobRequest(f.tag, size, mounts): f.waiting for f, size in sizes}
        if not pool.learn:
            return fixed
        arrivals = ((job.history[0].at, job.request) for job in self._jobs() if not was_refused(job))
        window_s = refill_s(tuple(self._made), FIRST_REFILL_S)
        return {**learnt(arrivals, self._clock.now(), pool.learn_s, window_s, pool.learn), **fixed}

    def _charge(self, resources: Resources) -> Resources:
        return self._config.overheads.charge(resources)

    def _may_try(self, request: JobRequest, now: float) -> bool:
        return now >= self._failed.get(request, (0, 0.0, ""))[1]

    def _make(self, request: JobRequest) -> None:
        now = self._clock.now()
        name, offered = f"{PREFIX}{uuid.uuid4().hex[:12]}", self._config.pool.offer
        vm = PoolVm(name, request, PoolState.COMING, since=now, born=now, offered=offered)
        self._journal.put(vm)
        self.reconciler.wake(vm.id)

    # the steps of a VM

    def step(self, key: str) -> Optional[float]:
        """Do the next thing for the VM ``key``, or for all of them."""
        if key == BALANCE:
            return self.balance()
        vm = self._journal.get(key)
        try:
            return None if vm is None or is_over(vm) else self._steps[vm.state](vm)
        except Outdated:
            return 0.0

    def _step_failed(self, key: str, error: Exception) -> None:
        with self._lock:
            vm = self._journal.get(key)
            if vm is not None and vm.state in (PoolState.COMING, PoolState.JOINING):
                self._give_up_late(vm, str(error))

    def _give_up_late(self, vm: PoolVm, reason: str) -> Optional[float]:
        config = self._config
        limit = config.vm_timeout_s if vm.state is PoolState.COMING else config.join_timeout_s
        return self._fail(vm, reason) if self._clock.is_late(vm.since, limit) else None

    def _put(self, old: PoolVm, new: PoolVm) -> PoolVm:
        with self._lock:
            current = self._journal.get(old.id)
            if current is None or current.state is not old.state:
                raise Outdated(object=f"waiting VM {old.id}", reason="has moved on meanwhile")
            return self._journal.replace(current, new)

    def _move(self, vm: PoolVm, state: PoolState, reason: str = "") -> PoolVm:
        moved = self._put(vm, vm.moved(state, self._clock.now(), reason))
        log.info("waiting VM is %s %s", state.value, reason, extra={"vm": vm.host or vm.id, "image": vm.request.tag})
        return moved

    def _leave(self, vm: PoolVm, reason: str) -> float:
        self._move(vm, PoolState.LEAVING, reason)
        self.reconciler.wake(vm.id)
        return 0.0

    def _fail(self, vm: PoolVm, reason: str) -> float:
        count = self._failed.get(vm.request, (0, 0.0, ""))[0] + 1
        pause = backoff(count, self._config.backoff_s, self._config.max_backoff_s)
        problem = f"VM that should wait, {vm.request.tag} {flavour(vm.request.resources)}: {reason}"
        self._failed[vm.request] = count, self._clock.now() + pause, problem
        log.warning("%s; next one in %g s at the earliest", problem, pause)
        return self._leave(vm, reason)

    def _coming(self, vm: PoolVm) -> float:
        asked = vm.request
        wish = VmRequest(vm.id, "", asked.tag, asked.resources, asked.mounts, labels={"pool": flavour(asked.resources)})
        try:
            made = self._hypervisor.create(wish)
        except NoRoomError as error:
            self._quiet_until = self._clock.now() + self._config.pool.calm_s
            return self._leave(vm, str(error))
        except RequestError as error:
            return self._fail(vm, str(error))
        if made.state is VmState.READY:
            digest = made.image.digest if made.image else ""
            self._move(replace(vm, host=made.name, address=made.address, digest=digest), PoolState.JOINING)
            return 0.0
        if made.state in (VmState.BROKEN, VmState.GONE, VmState.RECYCLING):
            return self._fail(vm, made.reason or f"it is {made.state.value}")
        late = self._give_up_late(vm, f"it was not ready after {self._config.vm_timeout_s:g} s ({made.state.value})")
        return 1.0 if late is None else late

    def _joins(self, vm: PoolVm) -> float:
        if not vm.joined:
            self._lrms.remove_host(vm.host)  # left by an earlier VM of this name
            vm = self._put(vm, replace(vm, joined=True))
        asked, placeholder = vm.request, ""
        if vm.offered:
            placeholder = self._offers.place(vm)
            if not placeholder:
                return self._await_room(vm)
        host = WorkerNode(vm.host, vm.address, asked.resources, asked.tag, vm.offered)
        state = self._joining.step(vm.id, host, self._lrms.accounts() if vm.offered else ())
        if state is HostState.READY:
            if not vm.offered and not vm.uses and not self._lrms.rehearsed(vm.id, vm.host):
                return SOON_S
            if not vm.offered:
                placeholder = self._lrms.place(vm.id, self._charge(asked.resources))
            self._failpoints.hit("bait.place_waiting")
            if not vm.uses:
                self._made.append(self._clock.since(vm.born))
                log.info("waits after %.2f s", self._made[-1], extra={"vm": vm.host})
            self._failed.pop(asked, None)
            self._move(replace(vm, placeholder=placeholder), PoolState.WAITING)
            return LOOK_S
        late = self._give_up_late(vm, f"it did not join within {self._config.join_timeout_s:g} s ({state.value})")
        return SOON_S if late is None else late

    def _await_room(self, vm: PoolVm) -> float:
        if self._clock.since(vm.since) < ROOM_S:
            return SOON_S
        self._quiet_until = self._clock.now() + self._config.pool.calm_s
        return self._leave(vm, "jobs need its room")

    def _waits(self, vm: PoolVm) -> Optional[float]:
        over = self._offers.over(vm) if vm.offered else None
        if over == "":
            self._move(self._move(vm, PoolState.TAKEN), PoolState.GONE)
            self.reconciler.wake(BALANCE, HAND_OVER_S)
            return None
        if over is not None:
            self._quiet_until = self._clock.now() + self._config.pool.calm_s
            return self._leave(vm, over)
        try:
            made = self._hypervisor.get(vm.id)
        except NotFoundError:
            return self._leave(vm, "the hypervisor does not know it")
        if made.state is not (VmState.IN_USE if vm.user else VmState.READY):
            return self._leave(vm, made.reason or f"it is {made.state.value}")
        state = self._lrms.host(vm.host)
        if state is not HostState.READY:
            return self._leave(vm, f"its host is {state.value} in the batch system")
        if vm.user and self._clock.since(vm.born) > self._config.pool.reuse_s:
            return self._leave(vm, "it has been used for long enough")
        images = {image.tag: image.digest for image in self._hypervisor.status().images}
        # no images at all: the hypervisor does not know yet which there are
        if images and images.get(vm.request.tag, "") != vm.digest:
            return self._leave(vm, "its tag has another image now, or none")
        return LOOK_S

    def _taken_by(self, vm: PoolVm) -> Optional[float]:
        """A VM that was taken, but maybe by nobody: the bait died in between, or gave the job up."""
        takers = [job for job in self._jobs() if job.id == vm.job]
        if takers and takers[0].vm == vm.id:
            self._move(vm, PoolState.GONE)
            return None
        if takers and takers[0].state is JobState.RECEIVED:
            return LOOK_S
        return self._leave(vm, "the job that took it never used it")

    def _leaves(self, vm: PoolVm) -> Optional[float]:
        if vm.joined:
            if vm.offered and not self._offers.withdraw(vm):
                self._move(vm, PoolState.GONE)
                return None
            self._joining.leave(vm.id, vm.host)
            vm = self._put(vm, replace(vm, joined=False))
            self._failpoints.hit("bait.remove_waiting_host")
        try:
            if self._hypervisor.destroy(vm.id).state is not VmState.GONE:
                return SOON_S
        except NotFoundError:
            pass
        self._joining.gone(vm.id, vm.host)
        self._lrms.unplace(vm.id)
        self._move(vm, PoolState.GONE)
        self.reconciler.wake(BALANCE)
        return None
