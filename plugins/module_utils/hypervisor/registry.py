# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The VMs of this hypervisor: journal first, then everything else."""

from __future__ import annotations

import ipaddress
import logging
import threading
from dataclasses import replace
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from ..engine.journal import Journal, Outdated
from ..model.clock import Clock
from ..model.errors import NotFoundError, StateError
from ..model.states import VmState
from ..model.vm import Move, Vm, VmRequest
from ..virt.policy import domain_uuid
from .events import EventLog

log = logging.getLogger(__name__)


_NOT_STARTED = (VmState.PLANNED, VmState.IMAGE)


def usual_notation(address: str) -> str:
    """Return an IP address as others write it too: short, without zone, IPv4 not in IPv6; other texts as they are."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(parsed.ipv4_mapped or parsed)


class Superseded(Exception):
    """The VM is no longer in the state that a step began with: somebody else moved it."""


def is_gone(vm: Vm) -> bool:
    """Return whether a VM is over."""
    return vm.state is VmState.GONE


def nothing(_what: Any) -> None:
    """Do nothing about a VM, or about several."""


class Registry:
    """Records of VMs. Each change is on disk when the call returns, and is refused when its basis is outdated.

    :param told: called after each change of a state; it must return at once
    :param observe: called with each VM that has become READY or GONE; it must return at once
    """

    def __init__(
        self,
        journal: Journal[Vm],
        clock: Clock,
        events: EventLog,
        told: Callable[[], None] = lambda: None,
        observe: Callable[[Vm], None] = nothing,
    ) -> None:
        self._journal, self._clock, self._events, self._told, self._observe = journal, clock, events, told, observe
        self._lock = threading.RLock()
        self._waiting: Dict[str, str] = {}
        self._senders: Optional[Dict[str, Vm]] = None

    def add(self, request: VmRequest, admit: Callable[[Tuple[Vm, ...]], None] = nothing) -> Tuple[Vm, bool]:
        """Return the VM of this request and whether it is new.

        :param admit: is called with those that are here before there is a new one; what it raises is passed on
        :raises StateError: the id is known with another request
        """
        with self._lock:
            known = self._journal.get(request.id)
            if known is not None:
                if known.request != request:
                    raise StateError(
                        object=f"VM {request.id}", reason="already exists and was requested with other properties"
                    )
                return known, False
            admit(self.active())
            planned = Move(VmState.PLANNED.value, self._clock.now())
            vm = Vm(request, VmState.PLANNED, (planned,), uuid=domain_uuid(request.id))
            self._journal.put(vm)
        self._announce(vm)
        return vm, True

    def get(self, vm_id: str) -> Vm:
        """Return a VM as the journal has it; NotFoundError where there is none."""
        vm = self._journal.get(vm_id)
        if vm is None:
            raise NotFoundError(object=f"VM {vm_id}", reason="is not known here")
        return vm

    def find(self, vm_id: str) -> Optional[Vm]:
        """Return a VM, or None."""
        return self._journal.get(vm_id)

    def change(self, vm: Vm, **values: Any) -> Vm:
        """Store ``vm`` with other values, in the same state."""
        return self._store(vm, lambda now: replace(now, **values))

    def move(self, vm: Vm, state: VmState, reason: str = "", **values: Any) -> Vm:
        """Store ``vm`` as being in ``state`` from now on, and tell."""
        moved = self._store(vm, lambda now: replace(now, **values).moved(state, self._clock.now(), reason))
        self._waiting.pop(vm.id, None)
        log.info(
            "vm=%s image=%s name=%s is %s%s",
            moved.id,
            moved.image.digest[:12] if moved.image else moved.request.tag,
            moved.name or "-",
            state.value,
            f": {reason}" if reason else "",
        )
        self._announce(moved)
        if state in (VmState.READY, VmState.GONE):
            self._observe(moved)
        return moved

    def _store(self, vm: Vm, changed: Callable[[Vm], Vm]) -> Vm:
        while True:
            current = self._journal.get(vm.id)
            if current is None or current.state is not vm.state:
                raise Superseded(vm.id)
            try:
                stored = self._journal.replace(current, changed(current))
            except Outdated:
                continue
            with self._lock:
                self._senders = None
            return stored

    def _announce(self, vm: Vm) -> None:
        self._events.emit(vm.id, "state", {"state": vm.state.value})
        self._told()

    def announce_all(self) -> None:
        """Tell the state of every VM that is not over."""
        for vm in self.active():
            self._announce(vm)

    def senders(self) -> Mapping[str, Vm]:
        """Return the VMs that may be sending now, by address (IP, in its usual notation)."""
        with self._lock:
            if self._senders is None:
                up = (vm for vm in self.active() if vm.address and vm.state not in _NOT_STARTED)
                self._senders = {usual_notation(vm.address): vm for vm in up}  # oldest first: the newest stays
            return self._senders

    def active(self) -> Tuple[Vm, ...]:
        """Return the VMs that are not GONE, oldest first."""
        return tuple(self._journal.active())

    def all(self) -> Tuple[Vm, ...]:
        """Return all VMs as people should see them: with what holds them up as their reason."""
        return tuple(self.shown(vm) for vm in self._journal.all())

    def wait(self, key: str, reason: str) -> None:
        """Note what a VM (or a step of maintenance) is waiting for, until its next move."""
        self._waiting[key] = reason

    def shown(self, vm: Vm) -> Vm:
        """Return ``vm`` with what it waits for as its reason."""
        waiting = self._waiting.get(vm.id)
        return replace(vm, reason=f"waiting: {waiting}") if waiting and vm.state is not VmState.BROKEN else vm
