# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor in memory, for the bait's tests and the simulator: VMs are ready, broken or lost when told to be."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from typing import Callable, Dict, List, Optional, Tuple

from ..model.errors import NoRoomError, NotFoundError, RequestError, StateError, UnavailableError
from ..model.image import Artefact, Image
from ..model.lease import Lease, NetworkSettings
from ..model.states import VmState
from ..model.vm import GuestSetup, Move, Vm, VmEvent, VmRequest, VmUser, used_by
from .api import ConsolePart, HypervisorApi, HypervisorStatus, NodeImage
from .files import console_part


@dataclass
class FakeHypervisor(HypervisorApi):
    """See the module. ``auto_ready``: VMs are READY at once; ``setup_failure``: raised by ``setup``;
    ``full``: its disk has no room for another VM; ``unwelcome``: users who may use no image; ``digests``: of the tags'
    images, where it matters."""

    auto_ready: bool = True
    down: bool = False
    full: bool = False
    setup_failure: Optional[Exception] = None
    unwelcome: Tuple[str, ...] = ()
    tags: Tuple[str, ...] = ("worker_debian12_x86_64",)
    digests: Dict[str, str] = field(default_factory=dict)
    vms: Dict[str, Vm] = field(default_factory=dict)
    setups: Dict[str, List[GuestSetup]] = field(default_factory=dict)
    said: List[VmEvent] = field(default_factory=list)
    consoles: Dict[str, bytes] = field(default_factory=dict)
    now: Callable[[], float] = lambda: 0.0
    _next: int = 100

    def _answer(self) -> None:
        if self.down:
            raise UnavailableError(object="fake hypervisor", reason="does not answer")

    def _set(self, vm: Vm) -> Vm:
        self.vms[vm.id] = vm
        self.said.append(VmEvent(len(self.said) + 1, vm.id, "state", {"state": vm.state.value}))
        return vm

    def put(self, vm_id: str, state: VmState, reason: str = "") -> Vm:
        """Put a VM into ``state``, allowed or not, as failures do."""
        vm = self.vms[vm_id]
        return self._set(replace(vm, state=state, reason=reason, history=(*vm.history, Move(state.value, self.now()))))

    def create(self, request: VmRequest) -> Vm:
        self._answer()
        if request.id not in self.vms:
            if self.full:
                raise NoRoomError(object=f"VM request {request.id}", reason="needs more disk than is left")
            number, self._next = self._next, self._next + 1
            lease = Lease(
                name=f"vwn-{number}",
                mac=f"52:54:00:00:00:{number % 256:02x}",
                address=f"10.0.0.{number % 256}",
                network=NetworkSettings(24),
                holder=request.id,
                owner="hv1",
                epoch=1,
                expires=self.now() + 120,
            )
            state = VmState.READY if self.auto_ready else VmState.STARTING
            self._set(Vm(request, state, (Move(state.value, self.now()),), lease, self._image(request.tag)))
        return self.vms[request.id]

    def _image(self, tag: str) -> Optional[Image]:
        digest, file = self.digests.get(tag, ""), Artefact("", "")
        return Image(digest, "qcow2", 1, 1, file, file, file, "/dev/vda", "") if digest else None

    def get(self, vm_id: str) -> Vm:
        self._answer()
        if vm_id not in self.vms:
            raise NotFoundError(object=f"VM {vm_id}", reason="is not known here")
        return self.vms[vm_id]

    def list(self) -> Tuple[Vm, ...]:
        self._answer()
        return tuple(self.vms.values())

    def setup(self, vm_id: str, setup: GuestSetup) -> None:
        if self.setup_failure is not None:
            raise self.setup_failure
        if self.get(vm_id).state not in (VmState.READY, VmState.IN_USE):
            raise StateError(object=f"VM {vm_id}", reason="is not up")
        self.setups.setdefault(vm_id, []).append(setup)

    def use(self, vm_id: str, user: Optional[VmUser] = None) -> Vm:
        vm = self.get(vm_id)
        if user is not None:
            if user.owner in self.unwelcome:
                raise RequestError(object=f"VM {vm_id}", reason=f"{user.owner} may not use this image")
            vm = replace(vm, request=used_by(vm.request, user))
        return self._set(vm if vm.state is VmState.IN_USE else vm.moved(VmState.IN_USE, self.now()))

    def destroy(self, vm_id: str) -> Vm:
        return self.put(self.get(vm_id).id, VmState.GONE)

    def events(self, after: int, timeout_s: float) -> Tuple[VmEvent, ...]:
        self._answer()
        return tuple(event for event in self.said if event.seq > after)

    def console(self, vm_id: str, offset: int) -> ConsolePart:
        return console_part(io.BytesIO(self.consoles.get(self.get(vm_id).id, b"")), offset)

    def status(self) -> HypervisorStatus:
        self._answer()
        images = tuple(NodeImage(tag, digest, 1, "ready") for tag, digest in self.digests.items())
        return HypervisorStatus(True, (), self.tags, "qemu", images)
