# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM needs of the node itself: memory, a bridge, room for its files."""

from __future__ import annotations

import os
from typing import Dict, List

from ..model.disk import disk
from .config import HypervisorConfig

DEVICES = "/sys/class/net"
MEMINFO = "/proc/meminfo"


def memory_mib() -> int:
    """Return this machine's memory in MiB."""
    return (os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) >> 20


def available_mib(meminfo: str = MEMINFO) -> int:
    """Return the MiB of memory that can be had now without swapping; 0 where the kernel does not tell."""
    with open(meminfo, encoding="ascii") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) >> 10
    return 0


def load(total_mib: int) -> Dict[str, float]:
    """Return what this machine has and how busy it is, for people."""
    return {
        "cpus": os.cpu_count() or 0,
        "load": round(os.getloadavg()[0], 2),
        "memory_mib": total_mib,
        "available_mib": available_mib(),
    }


def problems(config: HypervisorConfig, devices: str = DEVICES) -> str:
    """Return why VMs could not be made on this node now, or an empty text."""
    found: List[str] = []
    if config.bridge and not os.path.isdir(os.path.join(devices, config.bridge, "bridge")):
        found.append(f"there is no bridge {config.bridge}")
    try:
        free = disk(config.state_dir).free_mib
        if free < config.min_free_mib:
            found.append(f"{config.state_dir} has {free} MiB free, {config.min_free_mib} are needed for a VM")
    except OSError as error:
        found.append(f"{config.state_dir}: {error.strerror}")
    return "; ".join(found)
