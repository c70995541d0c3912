# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hypervisor of one node: makes, keeps and takes away VMs. It knows nothing of jobs or batch systems."""

from __future__ import annotations

import logging
import os
import time
from functools import partial
from typing import Any, Callable, Dict, Optional, Set, Tuple

from .. import support
from ..engine.journal import Journal
from ..engine.pulse import Pulse
from ..engine.reconciler import Reconciler
from ..journald import Journald
from ..load import Stretch, patient, stretch
from ..model.clock import Clock, Failpoints
from ..model.codec import encode
from ..model.disk import DiskSpace, disk
from ..model.endpoint import reachable
from ..model.errors import StateError
from ..model.image import CachedImage, check_tag
from ..model.states import VmState
from ..model.vm import GuestSetup, Vm, VmEvent, VmRequest, VmUser, used_by
from ..process import run
from ..support import Part
from ..virt.accel import AccelProbe
from ..virt.base import HostEvent, VmHost
from ..virt.channel import ChannelHub, Frame
from ..virt.guest import GuestAgent, pause
from ..virt.policy import check_labels, check_request
from ..virt.surroundings import Surroundings, surroundings
from . import node
from .api import ConsolePart, HypervisorApi, HypervisorStatus
from .config import HypervisorConfig
from .context import HypervisorContext
from .disk_reservations import DiskReservations
from .events import EventLog
from .files import VmFiles
from .lifecycle import VmLifecycle
from .maintenance import LIMITS_S, LeaseFigures, Maintenance
from .ports import ImageSource, Nameserver, ReleaseAdmission
from .registry import Registry, Superseded, is_gone, nothing
from .starts import Starts
from .syslog import SyslogReceiver
from .syslog_intake import Intake

log = logging.getLogger(__name__)

#: threads for VMs besides those that start some
EXTRA_WORKERS = 4
#: seconds that a stop waits for each thread: one may hang in a call that has its own deadline
STOP_S = 3.0
#: what status and metrics call the loop of maintenance
MAINTENANCE_LOOP = "upkeep"
_BEFORE_RECYCLING = frozenset(VmState) - {VmState.RECYCLING, VmState.GONE}


class Hypervisor(HypervisorApi):
    """:class:`HypervisorApi` over a host, an image cache and the nameserver.

    ``start`` makes it work by threads; tests and the simulator call ``run_due`` instead.

    :param memory_mib: the node's memory; by default this machine's
    :param node_problems: why the node itself can't have VMs now; empty when it can
    :param available_mib: tells how much of it could be given away now; by default as this machine's kernel says
    :param pause: waits between two looks at a template's guest
    :param disk: tells what the file system of a folder has; by default what there is
    :param stretch: tells how busy the node is; by default as this machine's kernel says
    :param surroundings: tells what guests get of the node; by default by this machine's files
    :param observe: called with each VM that has become READY or GONE; it must return at once
    :param accel: tells what guests of an image run on; by default by really booting its kernel
    """

    def __init__(
        self,
        config: HypervisorConfig,
        host: VmHost,
        images: ImageSource,
        nameserver: Nameserver,
        trust: ReleaseAdmission,
        *,
        clock: Optional[Clock] = None,
        failpoints: Optional[Failpoints] = None,
        accel: Optional[Callable[[CachedImage], str]] = None,
        files: Optional[VmFiles] = None,
        channels: Optional[ChannelHub] = None,
        memory_mib: int = 0,
        node_problems: Optional[Callable[[], str]] = None,
        available_mib: Callable[[], int] = node.available_mib,
        pause: Callable[[float], None] = pause,
        disk: Callable[[str], DiskSpace] = disk,
        stretch: Stretch = stretch,
        surroundings: Callable[[], Surroundings] = surroundings,
        observe: Callable[[Vm], None] = nothing,
    ) -> None:
        self._config, self._host, self._stretch = config, host, stretch
        self._clock = clock or Clock()
        self._memory_mib = memory_mib or node.memory_mib()
        self._state_dir = os.path.join(config.state_dir, "hypervisor")
        self._accel_name = "" if config.accel == "auto" else config.accel
        self._find_accel = accel or self._probe
        self._probes = AccelProbe(os.path.join(self._state_dir, "accel.json"))
        self._events = EventLog()
        self._journal = Journal(os.path.join(self._state_dir, "journal.db"), Vm, is_gone)
        self._vms = Registry(
            self._journal, self._clock, self._events, lambda: self._maintenance_loop.wake(":beat"), observe
        )
        # leases that are short are tried for more often than that, too
        pauses = (0.5, min(15.0, config.lease_ttl_s / 4))
        loop = partial(Reconciler, clock=self._clock, failed=self._failed, retry_s=pauses)
        self._reconciler = loop(self._step, label=lambda key: f"vm={key} waits")
        # apart, and with a thread for each key: no number of VMs that wait for something may hold up a renewal
        self._maintenance_loop = loop(self._maintain, label=lambda key: key.lstrip(":"), limits_s=LIMITS_S)
        #: what drives this service, and whether it goes on
        self.pulse = Pulse()
        self.pulse.watch("vm", self._reconciler.vitals)
        self.pulse.watch(MAINTENANCE_LOOP, self._maintenance_loop.vitals)
        self._channels = channels or ChannelHub(self.heard)
        self._files = files or VmFiles(config.state_dir, patient(run, stretch))
        self._disk = DiskReservations(config, self._files, disk)
        context = HypervisorContext(
            config=config,
            vms=self._vms,
            host=host,
            images=images,
            trust=trust,
            nameserver=nameserver,
            files=self._files,
            channels=self._channels,
            accel=self.accel,
            clock=self._clock,
            failpoints=failpoints or Failpoints(),
            node_problems=node_problems or (lambda: node.problems(config)),
            available_mib=available_mib,
            pause=pause,
            disk=self._disk,
            stretch=stretch,
            surroundings=surroundings,
            wake_maintenance=self._maintenance_loop.wake,
        )
        self._syslog = self._syslog_receiver(config)
        self._maintenance = Maintenance(context, self._reconciler.wake, self._beat)
        self._lifecycle = VmLifecycle(context, Starts(context, self._maintenance.templates))
        host.subscribe(self._from_host)
        self._resume(context)

    def _syslog_receiver(self, config: HypervisorConfig) -> Optional[SyslogReceiver]:
        if not config.syslog_listen:
            return None
        journal = Journald()
        intake = Intake(journal, config.syslog_rate, config.syslog_burst, time.monotonic)
        return SyslogReceiver(config.syslog_listen, config.syslog_port, self._vms.senders, intake, journal)

    def _resume(self, context: HypervisorContext) -> None:
        """Take up what the journal says was under way."""
        for vm in self._vms.active():
            if vm.state not in (VmState.PLANNED, VmState.IMAGE, VmState.RECYCLING):
                self._channels.add(vm.id, context.files.of(vm.id, False).channel)
            self._reconciler.wake(vm.id)
        self._vms.announce_all()
        for key in self._maintenance.steps:
            self._maintenance_loop.wake(key)

    # Running

    def start(self) -> None:
        """Start to work, in threads."""
        self._channels.start()
        if self._syslog is not None:
            self._syslog.start()
        self._maintenance_loop.start(len(self._maintenance.steps), MAINTENANCE_LOOP)
        self._reconciler.start(self._config.max_starting + EXTRA_WORKERS, "vm")

    def run_due(self) -> int:
        """Do everything that is due now, in this thread; return how many steps that were."""
        done = total = self._maintenance_loop.run_due() + self._reconciler.run_due()
        while done:  # the one may have woken the other
            done = self._maintenance_loop.run_due() + self._reconciler.run_due()
            total += done
        return total

    def next_due(self) -> Optional[float]:
        """Return when the next step is due, or None."""
        dues = (self._maintenance_loop.next_due(), self._reconciler.next_due())
        return min((due for due in dues if due is not None), default=None)

    def stop(self) -> None:
        """Stop working; VMs stay as they are."""
        self._events.close()
        self._maintenance.templates.stop()
        self._reconciler.stop(STOP_S)
        self._maintenance_loop.stop(STOP_S)
        self._channels.stop()
        if self._syslog is not None:
            self._syslog.stop()
        self._host.close()
        self._journal.close()

    def _step(self, key: str) -> Optional[float]:
        return self._lifecycle.step(key)

    def _maintain(self, key: str) -> Optional[float]:
        return self._maintenance.steps[key]()

    def _failed(self, key: str, error: Exception) -> None:
        self._vms.wait(key, str(error))

    # HypervisorApi

    def create(self, request: VmRequest) -> Vm:
        check_tag(request.tag)
        check_request(request, self._config.mounts_allowed, self._memory_mib, self._config.overheads)
        if self._vms.find(request.id) is None:
            self._maintenance.catalogue.check(request)
        image = self._maintenance.catalogue.image(request.tag)
        vm, new = self._vms.add(request, lambda vms: self._disk.check(request, image, vms))
        if new:
            self._reconciler.wake(vm.id)
        return self._vms.shown(vm)

    def get(self, vm_id: str) -> Vm:
        return self._vms.shown(self._vms.get(vm_id))

    def list(self) -> Tuple[Vm, ...]:
        return self._vms.all()

    def setup(self, vm_id: str, setup: GuestSetup) -> None:
        vm = self._vms.get(vm_id)
        self._expect(vm, "set up", VmState.READY, VmState.IN_USE)
        GuestAgent(self._host, vm.uuid, stretch=self._stretch).setup(setup, self._config.setup_timeout_s)

    def use(self, vm_id: str, user: Optional[VmUser] = None) -> Vm:
        while True:
            vm = self._vms.get(vm_id)
            request = used_by(vm.request, user) if user else vm.request
            try:
                if vm.state is VmState.IN_USE:
                    if request.owner != vm.request.owner:
                        raise StateError(object=f"VM {vm_id}", value=vm.request.owner, reason="somebody else uses it")
                    return vm if request is vm.request else self._vms.change(vm, request=request)
                self._expect(vm, "used", VmState.READY)
                if user is not None:
                    check_labels(request)
                    self._maintenance.catalogue.check(request)
                return self._vms.move(vm, VmState.IN_USE, request=request)
            except Superseded:
                continue

    def destroy(self, vm_id: str) -> Vm:
        while True:
            vm = self._vms.get(vm_id)
            if vm.state not in _BEFORE_RECYCLING:
                return self._vms.shown(vm)
            try:
                vm = self._vms.move(vm, VmState.RECYCLING)
            except Superseded:
                continue
            self._reconciler.wake(vm_id)
            return vm

    def events(self, after: int, timeout_s: float) -> Tuple[VmEvent, ...]:
        return self._events.after(after, timeout_s)

    def images_in_use(self) -> Set[str]:
        """Return the digests of images that VMs or templates need, or that the site's tags point to."""
        running = {vm.image.digest for vm in self._vms.active() if vm.image is not None}
        return running | self._maintenance.catalogue.digests | self._maintenance.templates.images

    def console(self, vm_id: str, offset: int) -> ConsolePart:
        return self._files.console(self._vms.get(vm_id).id, offset)

    def evidence(self) -> Dict[str, Part]:
        """Return what goes into a support bundle of this node besides what every service tells."""
        domains = {f"domain-{vm.id}.xml": vm.uuid for vm in self._vms.active()}
        virsh = ("virsh", "--readonly", "--connect", self._config.libvirt_uri)
        return {
            "status.json": support.data(self._beat),
            "config.json": support.data(lambda: self._config),
            "domains.txt": support.command(*virsh, "list", "--all"),
            **{name: support.command(*virsh, "dumpxml", uuid) for name, uuid in domains.items()},
        }

    def status(self) -> HypervisorStatus:
        problems = self._maintenance.problems
        catalogue, told = self._maintenance.catalogue, problems + self._only_told()
        templates = self._maintenance.templates.status()
        return HypervisorStatus(not problems, told, catalogue.tags, self._accel_name, catalogue.images(), templates)

    def leases(self) -> LeaseFigures:
        """Return how the leases of the VMs are."""
        return self._maintenance.leases()

    def syslog_counts(self) -> Dict[str, int]:
        """Return the VMs' log messages since the start by what became of them; empty where none are received."""
        return {} if self._syslog is None else self._syslog.counts

    def _only_told(self) -> Tuple[str, ...]:
        # no reason to take no jobs: without a receiver VMs lose log lines, with a closed node users lose time; and a
        # loop that is stuck goes on soon, or systemd starts us afresh
        syslog = (self._syslog.problem,) if self._syslog is not None and self._syslog.problem else ()
        return syslog + self.pulse.problems()

    def _expect(self, vm: Vm, what: str, *states: VmState) -> None:
        if vm.state not in states:
            names = " or ".join(state.value for state in states)
            raise StateError(object=f"VM {vm.id}", value=vm.state.value, reason=f"can't be {what}: it must be {names}")

    # What others tell

    def _beat(self) -> Dict[str, Any]:
        # it is the nameserver that is told, so what is wrong with it is not worth telling
        problems = [problem for problem in self._maintenance.problems if not problem.startswith("nameserver")]
        return {
            "ok": not problems,
            "problems": [*problems, *self._only_told()],
            "vms": [encode(self._vms.shown(vm)) for vm in self._vms.active()],
            "tags": list(self._maintenance.catalogue.tags),
            "images": encode(self._maintenance.catalogue.images()),
            "accel": self._accel_name,
            "templates": encode(self._maintenance.templates.status()),
            "node": node.load(self._memory_mib),
            "manage": reachable(self._config.manage_listen, self._config.host),
        }

    def _from_host(self, event: HostEvent) -> None:
        for vm in self._vms.active():
            if event.kind == "connected" or vm.uuid == event.uuid:
                self._reconciler.wake(vm.id)

    def heard(self, vm_id: str, frame: Frame) -> None:
        self._events.emit(vm_id, "guest", {**frame.data, "event": frame.event})

    def accel(self, image: CachedImage) -> str:
        """Return what guests of ``image`` run on here, ``kvm`` or ``qemu``; the first time that is tried out."""
        if not self._accel_name:
            self._accel_name = self._find_accel(image)
        return self._accel_name

    def _probe(self, image: CachedImage) -> str:
        return self._probes.probe(image.kernel, image.image.kernel.digest).name
