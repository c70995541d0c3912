# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One arithmetic for what a VM needs: ``guest = request + guest overhead``, ``charge = guest + QEMU overhead``.

Each overhead is an amount and a part of the size: a kernel describes each page of its memory in 64 bytes, so that the
larger the guest, the more of it never becomes its ``MemTotal``, and QEMU's page tables grow with it, too.
"""

from __future__ import annotations

import math
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
    """Memory a VM costs beyond what its job asked for.

    :param guest_mib: MiB for the guest's own kernel and services
    :param qemu_mib: MiB for the QEMU process around the guest (more with TCG, whose translation cache counts)
    :param guest_percent: of the job's memory, for what the guest's kernel needs to keep book of it
    :param qemu_percent: of the guest's memory, for the page tables of the node
    """

    guest_mib: int = 192
    qemu_mib: int = 256
    guest_percent: float = 2.0
    qemu_percent: float = 0.4

    def __post_init__(self) -> None:
        for key in ("guest_mib", "qemu_mib"):
            if getattr(self, key) < 0:
                raise ConfigError(
                    object=f"overheads.{key}", value=str(getattr(self, key)), reason="must be 0 or more (MiB)"
                )
        for key in ("guest_percent", "qemu_percent"):
            if not 0 <= getattr(self, key) <= 100:
                raise ConfigError(
                    object=f"overheads.{key}", value=f"{getattr(self, key):g}", reason="must be 0 to 100 (per cent)"
                )

    def guest(self, request: Resources) -> Resources:
        """Return what the guest is given so that a job of size ``request`` fits inside."""
        return replace(request, memory_mib=_above(request.memory_mib, self.guest_mib, self.guest_percent))

    def charge(self, request: Resources) -> Resources:
        """Return what the node's books lose to a VM for a job of size ``request``."""
        guest = self.guest(request)
        return replace(guest, memory_mib=_above(guest.memory_mib, self.qemu_mib, self.qemu_percent))

    def within(self, guest_mib: int) -> int:
        """Return the memory (MiB) of the largest job that a guest of ``guest_mib`` has room for; 0: of none."""
        return _below(guest_mib, self.guest_mib, self.guest_percent)

    def largest(self, total_mib: int) -> int:
        """Return the memory (MiB) of the largest job whose charge is at most ``total_mib``; 0: of none."""
        return self.within(_below(total_mib, self.qemu_mib, self.qemu_percent))


def _above(size_mib: int, fixed_mib: int, percent: float) -> int:
    return size_mib + fixed_mib + math.ceil(size_mib * percent / 100)


def _below(total_mib: int, fixed_mib: int, percent: float) -> int:
    """Return the largest size that ``_above`` makes at most ``total_mib``; 0 where there is none."""
    size = max(0, math.floor((total_mib - fixed_mib) / (1 + percent / 100)))
    # rounding may have missed it by one, either way
    while size > 0 and _above(size, fixed_mib, percent) > total_mib:
        size -= 1
    while _above(size + 1, fixed_mib, percent) <= total_mib:
        size += 1
    return size
