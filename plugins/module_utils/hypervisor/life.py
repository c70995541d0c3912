# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done in each state of a VM. A step may be repeated at any time and after any crash.

Order in every step: the move is in the journal, then its side effect is done, then the next move.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Callable, Dict, Optional, Set, TypeVar

from ..model.clock import Clock, Failpoints
from ..model.errors import ImageError, NotFoundError, VirtError
from ..model.image import CachedImage
from ..model.states import VmState
from ..model.vm import Vm
from ..virt.base import Found, VmHost
from ..virt.channel import ChannelHub
from ..virt.guest import Guest
from ..virt.personality import personalise, personality
from ..virt.policy import HostFacts, make_domain
from .config import HypervisorConfig
from .files import VmFiles
from .ports import ImageCache, Nameserver, Trust
from .registry import Registry, Superseded

log = logging.getLogger(__name__)

T = TypeVar("T")

#: seconds between two looks at a guest that boots; its agent's coming up is an event and is not waited for
BOOT_POLL_S = 1.0
#: seconds between two looks whether a start slot is free
SLOT_POLL_S = 0.5
#: seconds between two looks whether a VM that is up is still there; its end is an event too
UP_POLL_S = 30.0

#: the step of the upkeep that deletes what was thrown away
TRASH = ":trash"

_STARTING = (VmState.STARTING, VmState.PERSONALISING)


@dataclass
class Parts:
    """What the steps work with."""

    config: HypervisorConfig
    vms: Registry
    host: VmHost
    images: ImageCache
    trust: Trust
    nameserver: Nameserver
    files: VmFiles
    channels: ChannelHub
    accel: Callable[[CachedImage], str]
    clock: Clock
    failpoints: Failpoints
    node_problems: Callable[[], str]
    care: Callable[[str], None]


class Life:
    """The steps of a VM's life."""

    def __init__(self, parts: Parts) -> None:
        self._p, self._vms = parts, parts.vms
        self._slots = threading.Lock()
        self._fetches = threading.BoundedSemaphore(parts.config.max_starting)
        self._started: Set[str] = set()
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

    def _effect(self, name: str, effect: Callable[[], T]) -> T:
        """Do a side effect between two places at which tests can make us fail."""
        self._p.failpoints.hit(f"hypervisor.{name}")
        result = effect()
        self._p.failpoints.hit(f"hypervisor.{name}.done")
        return result

    def _since(self, vm: Vm) -> float:
        return self._p.clock.now() - vm.history[-1].at

    def _break(self, vm: Vm, reason: str) -> float:
        console = self._p.files.console_tail(vm.id)
        self._vms.move(vm, VmState.BROKEN, f"{reason}\nconsole:\n{console}" if console else reason)
        return 0.0

    def _planned(self, vm: Vm) -> float:
        ttl_s, owner = self._p.config.lease_ttl_s, self._p.config.host
        lease = self._effect("lease", lambda: self._p.nameserver.lease(vm.id, owner, ttl_s))
        self._vms.move(vm, VmState.IMAGE, lease=lease)
        return 0.0

    def _image(self, vm: Vm) -> float:
        if vm.image is None:
            tag = vm.request.tag
            try:
                release = self._p.nameserver.tag(tag).release_for(self._p.config.host)
                manifest = self._p.trust.admit(release, tag)
            except NotFoundError:
                return self._break(vm, f"image tag {tag} is not known to the nameserver any more")
            except ImageError as error:
                return self._break(vm, str(error))
            vm = self._vms.change(vm, image=manifest.image(release.location))
        # a download may take minutes, and other VMs need the threads meanwhile
        if not self._fetches.acquire(blocking=False):
            return SLOT_POLL_S
        try:
            accel = self._p.accel(self._cached(vm))
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
        return self._p.images.ensure(vm.image)

    def _may_start(self, vm: Vm) -> bool:
        """Return whether ``vm`` is among the oldest that the free start slots are enough for."""
        active = self._vms.active()
        free = self._p.config.max_starting - sum(other.state in _STARTING for other in active)
        waiting = [other.id for other in active if other.state is VmState.IMAGE and other.image is not None]
        return vm.id in waiting[: max(0, free)]

    def _starting(self, vm: Vm) -> float:
        found = self._running(vm)
        if found is None:
            if vm.id in self._started:
                return self._break(vm, "its domain ended while it booted")
            self._start(vm)
        self._p.channels.add(vm.id, self._p.files.of(vm.id, False).channel)
        try:
            self._guest(vm).ping()
        except VirtError as error:
            if self._since(vm) > self._p.config.boot_timeout_s:
                return self._break(
                    vm, f"its guest agent did not answer within {self._p.config.boot_timeout_s:g} s: {error.reason}"
                )
            return BOOT_POLL_S
        self._vms.move(vm, VmState.PERSONALISING)
        return 0.0

    def _start(self, vm: Vm) -> None:
        """Make the domain; a start before a restart of ours left either none of it or all of it running."""
        assert vm.lease is not None
        cached, request, lease = self._cached(vm), vm.request, vm.lease
        files = self._effect("overlay", lambda: self._p.files.prepare(vm.id, cached, request.resources.scratch_mib))
        self._p.care(TRASH)
        facts = HostFacts(vm.accel, self._p.config.bridge, self._p.config.overheads)
        domain = make_domain(request, lease, cached, files, facts)
        begun = time.monotonic()
        try:
            self._effect("start", lambda: self._p.host.start(domain))
        except VirtError as error:
            self._break(vm, f"its domain could not be started: {error.reason}")
            raise Superseded(vm.id) from error
        log.info("vm=%s domain started in %.2f s", vm.id, time.monotonic() - begun)
        self._started.add(vm.id)

    def _running(self, vm: Vm) -> Optional[Found]:
        found = self._p.host.find(vm.uuid)
        return found if found is not None and found.active else None

    def _guest(self, vm: Vm) -> Guest:
        return Guest(self._p.host, vm.uuid)

    def _personalising(self, vm: Vm) -> float:
        if self._running(vm) is None:
            return self._break(vm, "its domain ended while it was personalised")
        limit_s, now = self._p.config.personalise_timeout_s, self._p.clock.now
        try:
            seconds = self._effect("personalise", lambda: personalise(self._guest(vm), personality(vm), now(), limit_s))
        except VirtError as error:
            return self._break(vm, str(error))
        log.info("vm=%s personalised in %.2f s", vm.id, seconds)
        self._vms.move(vm, VmState.READY)
        return UP_POLL_S

    def _up(self, vm: Vm) -> float:
        if self._running(vm) is None:
            return self._break(vm, "its domain is gone: QEMU ended or the guest switched itself off")
        return UP_POLL_S

    def _broken(self, vm: Vm) -> float:
        left = self._p.config.broken_keep_s - self._since(vm)
        if left > 0:
            return left
        self._vms.move(vm, VmState.RECYCLING)
        return 0.0

    def _recycling(self, vm: Vm) -> Optional[float]:
        self._p.channels.remove(vm.id)
        self._effect("destroy", lambda: self._p.host.destroy(vm.uuid))
        self._p.files.discard(vm.id)
        self._p.care(TRASH)
        lease = vm.lease
        if lease is not None:
            held = self._effect("release", lambda: self._p.nameserver.release(vm.id, lease.epoch))
            if not held:
                log.info("vm=%s its lease of %s had run out already", vm.id, lease.name)
        self._vms.move(vm, VmState.GONE)
        self._started.discard(vm.id)
        return None
