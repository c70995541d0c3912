# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM becomes a host of the batch system, and stops being one."""

from __future__ import annotations

from dataclasses import replace
from typing import Set, Tuple

from ..hypervisor.api import HypervisorApi
from ..lrms.base import HostState, Lrms, WorkerNode
from ..model.clock import Failpoints
from ..model.vm import GuestFile, GuestSetup


class Joining:
    """Makes VMs hosts. All of it may be repeated at any time."""

    def __init__(self, lrms: Lrms, hypervisor: HypervisorApi, failpoints: Failpoints) -> None:
        self._lrms, self._hypervisor, self._failpoints = lrms, hypervisor, failpoints
        self._told: Set[str] = set()

    def step(self, vm_id: str, host: WorkerNode, files: Tuple[GuestFile, ...] = ()) -> HostState:
        """Do the next thing that makes the VM a host that waits, and return how far it is.

        :param files: what else is to be written into the VM
        """
        state = self._lrms.host(host.name)
        if state is HostState.ABSENT and vm_id not in self._told:
            setup = self._lrms.guest_setup(replace(host, key=vm_id))
            self._hypervisor.setup(vm_id, GuestSetup(files + setup.files, setup.commands))
            self._told.add(vm_id)
            self._failpoints.hit("bait.join")
        if state in (HostState.READY, HostState.CLOSED) and not host.offered:
            self._lrms.open_host(host.name)
        return state

    def leave(self, vm_id: str, host: str) -> None:
        """Take the host away."""
        self._lrms.remove_host(host)
        self._told.discard(vm_id)

    def gone(self, vm_id: str, host: str) -> None:
        """Take away what the VM has made of itself between ``leave`` and its end.

        Its name may be another VM's by now.
        """
        if host:
            self._lrms.remove_host(host, vm_id)
