# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done in each state of a VM. A step may be repeated at any time and after any crash.

Order in every step: the move is in the journal, then its side effect is done, then the next move.
"""

from __future__ import annotations

import logging
import threading
from typing import Callable, Dict, Optional

from ..model.errors import ImageError, NotFoundError, VirtError
from ..model.image import CachedImage
from ..model.states import VmState
from ..model.vm import CONSOLE, RESTORE, Vm
from ..virt.guest import GuestAgent
from ..virt.personality import personalise, personality, right_clock
from .context import TRASH, HypervisorContext
from .registry import Superseded
from .starts import StartFailed, Starts

log = logging.getLogger(__name__)

#: seconds between two looks at a guest that boots; its agent's coming up is an event and is not waited for
BOOT_POLL_S = 1.0
#: seconds in which a restored guest's agent answers, if it ever does
RESTORED_S = 30.0
#: seconds between two looks whether a start slot is free
SLOT_POLL_S = 0.5
#: seconds between two looks at the clock of a VM that is up, and by how many it may be off: each correction is a jump
CLOCK_S = 600.0
USED_TOLERANCE_S = 1.0
#: seconds between two looks whether a VM that is up is still there; its end is an event too
UP_POLL_S = 30.0

_STARTING = (VmState.STARTING, VmState.PERSONALISING)


class VmLifecycle:
    """The steps of a VM's lifecycle."""

    def __init__(self, context: HypervisorContext, starts: Starts) -> None:
        self._context, self._vms, self._starts = context, context.vms, starts
        self._slots = threading.Lock()
        self._clock_due: Dict[str, float] = {}
        self._fetches = threading.BoundedSemaphore(context.config.max_starting)
        self._steps: Dict[VmState, Callable[[Vm], Optional[float]]] = {
            VmState.PLANNED: self._planned,
            VmState.IMAGE: self._image,
            VmState.STARTING: self._starting,
            VmState.PERSONALISING: self._personalising,
            VmState.READY: self._up,
            VmState.IN_USE: self._up,
            VmState.RECYCLING: self._recycling,
            VmState.BROKEN: self._broken,
        }

    def step(self, vm_id: str) -> Optional[float]:
        """Do the next thing for a VM; return the seconds after which to look again (None: never)."""
        vm = self._vms.find(vm_id)
        if vm is None or vm.state is VmState.GONE:
            return None
        try:
            return self._steps[vm.state](vm)
        except Superseded:
            return 0.0

    def _since(self, vm: Vm) -> float:
        return self._context.clock.since(vm.history[-1].at)

    def _break(self, vm: Vm, reason: str) -> float:
        console = self._context.files.console_tail(vm.id)
        self._vms.move(vm, VmState.BROKEN, f"{reason}{CONSOLE}{console}" if console else reason)
        return 0.0

    def _planned(self, vm: Vm) -> float:
        ttl_s, owner = self._context.config.lease_ttl_s, self._context.config.host
        lease = self._context.effect("lease", lambda: self._context.nameserver.lease(vm.id, owner, ttl_s))
        self._vms.move(vm, VmState.IMAGE, lease=lease)
        return 0.0

    def _image(self, vm: Vm) -> float:
        if vm.image is None:
            tag = vm.request.tag
            try:
                release = self._context.nameserver.tag(tag).release_for(self._context.config.host)
                manifest = self._context.trust.admit(release, tag)
            except NotFoundError:
                return self._break(vm, f"image tag {tag} is not known to the nameserver any more")
            except ImageError as error:
                return self._break(vm, str(error))
            vm = self._vms.change(vm, image=manifest.image(release.location))
        # a download may take minutes, and other VMs need the threads meanwhile
        if not self._fetches.acquire(blocking=False):
            return SLOT_POLL_S
        try:
            accel = self._context.accel(self._cached(vm))
        except ImageError as error:
            return self._break(vm, str(error))
        finally:
            self._fetches.release()
        with self._slots:
            if not self._may_start(vm):
                return SLOT_POLL_S
            self._vms.move(vm, VmState.STARTING, accel=accel)
        return 0.0

    def _cached(self, vm: Vm) -> CachedImage:
        assert vm.image is not None
        return self._context.images.ensure(vm.image)

    def _may_start(self, vm: Vm) -> bool:
        """Return whether ``vm`` is among the oldest that the free start slots are enough for."""
        active = self._vms.active()
        free = self._context.config.max_starting - sum(other.state in _STARTING for other in active)
        waiting = [other.id for other in active if other.state is VmState.IMAGE and other.image is not None]
        return vm.id in waiting[: max(0, free)]

    def _starting(self, vm: Vm) -> float:
        try:
            vm = self._starts.bring_up(vm)
        except StartFailed as error:
            return self._break(vm, str(error))
        self._context.channels.add(vm.id, self._context.files.of(vm.id, False).channel)
        try:
            self._guest(vm).ping()
        except VirtError as error:
            return self._not_up(vm, error)
        self._vms.move(vm, VmState.PERSONALISING)
        return 0.0

    def _not_up(self, vm: Vm, error: VirtError) -> float:
        restored = vm.path == RESTORE
        limit_s = (RESTORED_S if restored else self._context.config.boot_timeout_s) * self._context.stretch()
        if self._starts.seconds_up(vm) <= limit_s:
            return BOOT_POLL_S
        late = f"its guest agent did not answer within {limit_s:.3g} s: {error.reason}"
        if not restored:
            return self._break(vm, late)
        self._starts.boot_instead(vm, late)
        return 0.0

    def _ended(self, vm: Vm, gone: str) -> str:
        """Return why a VM that ought to run does not, ``gone`` if its domain is not there; empty: it runs."""
        found = self._context.host.find(vm.uuid)
        if found is None or not found.active:
            return gone
        return f"QEMU has stopped it: {found.stalled}" if found.stalled else ""

    def _guest(self, vm: Vm) -> GuestAgent:
        return GuestAgent(self._context.host, vm.uuid, stretch=self._context.stretch)

    def _personalising(self, vm: Vm) -> float:
        ended = self._ended(vm, "its domain ended while it was personalised")
        if ended:
            return self._break(vm, ended)
        limit_s, now = self._context.config.personalise_timeout_s, self._context.clock.wall
        stretch = self._context.stretch
        wanted = personality(vm, vm.path == RESTORE, self._context.surroundings())
        guest = self._guest(vm)
        try:
            seconds = self._context.effect("personalise", lambda: personalise(guest, wanted, now(), limit_s, stretch))
        except VirtError as error:
            self._starts.unfit(vm)
            return self._break(vm, str(error))
        log.info("vm=%s personalised in %.2f s", vm.id, seconds)
        self._vms.move(vm, VmState.READY)
        self._starts.ready(vm)
        return UP_POLL_S

    def _up(self, vm: Vm) -> float:
        ended = self._ended(vm, "its domain is gone: QEMU ended or the guest switched itself off")
        if ended:
            return self._break(vm, ended)
        if self._context.clock.now() >= self._clock_due.get(vm.id, 0.0):
            self._right_clock(vm)
        return UP_POLL_S

    def _right_clock(self, vm: Vm) -> None:
        """Keep a guest's clock right: nothing in it does, and on a node that is too busy for it it falls behind."""
        self._clock_due[vm.id] = self._context.clock.now() + CLOCK_S
        try:
            off = right_clock(self._guest(vm), self._context.clock.now, USED_TOLERANCE_S)
        except VirtError as error:
            log.debug("vm=%s its clock was not looked at: %s", vm.id, error)
            return
        if abs(off) > USED_TOLERANCE_S:
            log.warning("vm=%s its clock is off by %.1f s", vm.id, off)

    def _broken(self, vm: Vm) -> float:
        left = self._context.config.broken_keep_s - self._since(vm)
        if left > 0:
            return left
        self._vms.move(vm, VmState.RECYCLING)
        return 0.0

    def _recycling(self, vm: Vm) -> Optional[float]:
        self._context.channels.remove(vm.id)
        self._context.effect("destroy", lambda: self._context.host.destroy(vm.uuid))
        self._context.files.discard(vm.id)
        self._context.wake_maintenance(TRASH)
        lease = vm.lease
        if lease is not None:
            held = self._context.effect("release", lambda: self._context.nameserver.release(vm.id, lease.epoch))
            if not held:
                log.info("vm=%s its lease of %s had run out already", vm.id, lease.name)
        self._vms.move(vm, VmState.GONE)
        self._starts.forget(vm)
        self._clock_due.pop(vm.id, None)
        return None
