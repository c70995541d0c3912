# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One arithmetic for what a VM needs: ``guest = request + guest overhead``, ``charge = guest + QEMU overhead``."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .errors import ConfigError


@dataclass(frozen=True)
class Resources:
    """CPUs (count), memory and scratch disk (MiB)."""

    cpus: int
    memory_mib: int
    scratch_mib: int = 0


@dataclass(frozen=True)
class Overheads:
    """Memory (MiB) a VM costs beyond what its job asked for.

    :param guest_mib: the guest's own kernel and services
    :param qemu_mib: the QEMU process around the guest (more with TCG, whose translation cache counts)
    """

    guest_mib: int = 192
    qemu_mib: int = 256

    def __post_init__(self) -> None:
        for key in ("guest_mib", "qemu_mib"):
            if getattr(self, key) < 0:
                raise ConfigError(
                    object=f"overheads.{key}", value=str(getattr(self, key)), reason="must be 0 or more (MiB)"
                )

    def guest(self, request: Resources) -> Resources:
        """Return what the guest is given so that a job of size ``request`` fits inside."""
        return replace(request, memory_mib=request.memory_mib + self.guest_mib)

    def charge(self, request: Resources) -> Resources:
        """Return what the node's books lose to a VM for a job of size ``request``."""
        guest = self.guest(request)
        return replace(guest, memory_mib=guest.memory_mib + self.qemu_mib)

    def largest(self, total_mib: int) -> int:
        """Return the memory (MiB) of the largest job whose VM is charged ``total_mib`` at the most; 0: none."""
        return max(0, total_mib - self.guest_mib - self.qemu_mib)
