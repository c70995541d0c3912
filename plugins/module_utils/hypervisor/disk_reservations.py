# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reservations of the disk: what each VM may yet write is kept free for it, so that none is stopped by the others.

A VM's files are empty at first. If the disk were full when the guest writes, QEMU would stop it, and all others, too.
"""

from __future__ import annotations

from typing import Callable, Iterable, Optional

from ..model.disk import DiskSpace, disk
from ..model.errors import NoRoomError, RequestError, UnavailableError
from ..model.image import Image
from ..model.resources import Resources
from ..model.states import VmState
from ..model.vm import Vm, VmRequest
from .config import HypervisorConfig
from .files import VmFiles


class DiskReservations:
    """What VMs were promised of the disk below ``state_dir``, against what it has.

    :param look: tells what a folder's file system has
    """

    def __init__(self, config: HypervisorConfig, files: VmFiles, look: Callable[[str], DiskSpace] = disk) -> None:
        self._config, self._files, self._look = config, files, look

    def booked_mib(self, resources: Resources, image: Optional[Image]) -> int:
        """Return what is booked for a VM: its scratch disk, and its root disk as far as that is known."""
        root = self._config.overlay_mib or (0 if image is None else -(-image.virtual_size >> 20))
        return resources.scratch_mib + root

    def promised_mib(self, vms: Iterable[Vm]) -> int:
        """Return what VMs may yet write of what is booked for them; one that is on its way out writes no more."""
        here = [vm for vm in vms if vm.state not in (VmState.RECYCLING, VmState.GONE)]
        left = (self.booked_mib(vm.request.resources, vm.image) - self._files.size_mib(vm.id) for vm in here)
        return sum(max(0, mib) for mib in left)

    def free_mib(self, vms: Iterable[Vm]) -> int:
        """Return what the disk has beyond what is promised and what stays free; may be below 0.

        :raises UnavailableError: it can't be looked at
        """
        return self._seen().free_mib - self.promised_mib(vms) - self._config.min_free_mib

    def check(self, request: VmRequest, image: Optional[Image], vms: Iterable[Vm]) -> None:
        """Raise where there is no room for one more VM.

        :param image: which it will have, if that is known
        :param vms: those that are here
        :raises RequestError: the disk is too small for such a VM
        :raises NoRoomError: others have the room now
        :raises UnavailableError: the disk can't be looked at
        """
        config, needed, what = self._config, self.booked_mib(request.resources, image), f"VM request {request.id}"
        seen = self._seen()
        most = seen.total_mib - config.min_free_mib
        if needed > most:
            raise RequestError(
                object=what,
                value=f"scratch {request.resources.scratch_mib} MiB",
                reason=f"needs {needed} MiB of disk with its root disk, this node has {max(0, most)} MiB for VMs",
                hint="ask for a smaller scratch disk or another node",
            )
        promised = self.promised_mib(vms)
        free = seen.free_mib - promised - config.min_free_mib
        if needed > free:
            raise NoRoomError(
                object=what,
                value=f"scratch {request.resources.scratch_mib} MiB",
                reason=f"needs {needed} MiB of disk with its root disk, but {max(0, free)} MiB are left: "
                f"of {seen.free_mib} MiB free in {config.state_dir} other VMs may yet fill {promised} MiB, "
                f"and {config.min_free_mib} MiB stay free (min_free_mib)",
                hint="it is tried again when VMs have ended",
            )

    def _seen(self) -> DiskSpace:
        try:
            return self._look(self._config.state_dir)
        except OSError as error:
            raise UnavailableError(
                object=f"disk of {self._config.state_dir}", reason=error.strerror or str(error)
            ) from error
