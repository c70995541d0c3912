# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hypervisor offers to whoever wants VMs: the bait, the modules, the cloud."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Optional, Tuple

from ..model.vm import GuestSetup, Vm, VmEvent, VmRequest, VmUser


@dataclass(frozen=True)
class NodeImage:
    """A tag as this node has it.

    :param state: ``ready`` (a VM starts at once), ``waiting`` (to be fetched), ``refused`` or ``failed``
    :param reason: why it is refused or failed
    :param progress: how far its transfer is, while it is under way
    """

    tag: str
    digest: str
    version: int
    state: str
    reason: str = ""
    progress: str = ""


@dataclass(frozen=True)
class TemplateStatus:
    """The templates that VMs start from here.

    :param count: how many there are
    :param bytes: what they take on disk
    :param building: of what one is being built: image and flavour; empty where none is
    """

    count: int = 0
    bytes: int = 0
    building: str = ""


@dataclass(frozen=True)
class HypervisorStatus:
    """Whether VMs can be had here now.

    :param ok: True when everything a new VM needs answers
    :param problems: one sentence each, for people
    :param tags: image tags this node can serve now
    :param accel: ``kvm``, ``qemu`` (TCG) or empty while it is not known yet
    """

    ok: bool
    problems: Tuple[str, ...] = ()
    tags: Tuple[str, ...] = ()
    accel: str = ""
    images: Tuple[NodeImage, ...] = ()
    templates: TemplateStatus = TemplateStatus()


@dataclass(frozen=True)
class ConsolePart:
    """A piece of what a VM has written to its console.

    :param offset: where it begins in the log, in bytes
    :param next: where what comes after it begins
    :param data: the bytes, as base64: a guest writes what it likes
    """

    offset: int
    next: int
    data: str


class HypervisorApi(ABC):
    """VMs by request id. Every call is idempotent; UnavailableError means nothing is known."""

    @abstractmethod
    def create(self, request: VmRequest) -> Vm:
        """Begin to make the VM (or find the one of this id) and return it at once.

        :raises RequestError: this node can never make it (unknown tag, mount that is not allowed, size)
        """

    @abstractmethod
    def get(self, vm_id: str) -> Vm:
        """Return the VM; it may be GONE.

        :raises NotFoundError: no VM of this id was ever made here, or it was forgotten long after it went
        """

    @abstractmethod
    def list(self) -> Tuple[Vm, ...]:
        """Return all VMs known here, the lately GONE ones included."""

    @abstractmethod
    def setup(self, vm_id: str, setup: GuestSetup) -> None:
        """Write files and run commands inside a READY or IN_USE VM, all in one guest agent round trip.

        :raises VirtError: a command failed (with its output) or the guest did not answer
        :raises StateError: the VM is not up
        """

    @abstractmethod
    def use(self, vm_id: str, user: Optional[VmUser] = None) -> Vm:
        """Mark a READY VM as IN_USE, from now on by ``user`` if one is given; its owner may use it again.

        :raises RequestError: ``user`` may not use its image
        :raises StateError: it is not READY, or somebody else uses it
        """

    @abstractmethod
    def destroy(self, vm_id: str) -> Vm:
        """Begin to take the VM away with all it had; poll ``get`` until GONE."""

    @abstractmethod
    def events(self, after: int, timeout_s: float) -> Tuple[VmEvent, ...]:
        """Return events with ``seq > after``, waiting up to ``timeout_s`` seconds for the first one.

        A ``seq`` lower than ``after`` means that the hypervisor was restarted.
        """

    @abstractmethod
    def console(self, vm_id: str, offset: int) -> ConsolePart:
        """Return what a VM's console log holds from ``offset`` on, a piece of it; below 0: from so far before its end.

        An offset beyond the end, for the log has begun anew, is taken for 0.

        :raises NotFoundError: there is no VM or no log (any more)
        """

    @abstractmethod
    def status(self) -> HypervisorStatus:
        """Return whether VMs can be had here now."""
