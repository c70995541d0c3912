# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room and file system for journals, images, templates and VMs' disks."""

from __future__ import annotations

import os
from typing import Iterator, Tuple

from ..hypervisor.config import HypervisorConfig
from .check import NODE, Check, Finding, Wanted, failure, ok, skipped, warning
from .machine import Machine, size_mib

MOUNTS = "/proc/self/mounts"
#: file systems of other machines, and those that forget
REMOTE = ("nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "orangefs", "afs", "9p")
FORGETFUL = ("tmpfs", "ramfs")
LOCAL = "put hypervisor_settings.state_dir on a disk of the node"


def mount_of(mounts: str, folder: str) -> Tuple[str, str, Tuple[str, ...]]:
    """Return mount point, type and options of the file system that a folder is on."""
    best: Tuple[str, str, Tuple[str, ...]] = ("", "", ())
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) > 3:
            point = fields[1].replace("\\040", " ")
            # of several mounts at one point, the last one is seen
            if os.path.commonpath((point, folder)) == point and len(point) >= len(best[0]):
                best = (point, fields[2], tuple(fields[3].split(",")))
    return best


def file_system(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    if wanted.hypervisor is None:
        return
    folder = wanted.hypervisor.state_dir
    point, kind, options = mount_of(machine.read(MOUNTS) or "", folder)
    name, seen = f"file system of {folder}", f"{kind} at {point}"
    if kind.rpartition(".")[2] in REMOTE:
        yield failure(name, seen, "is another machine's: journals and VMs' disks need a local one", LOCAL)
    elif kind in FORGETFUL:
        yield failure(name, seen, "forgets the journals when the node restarts", LOCAL)
    # under ProtectSystem=strict a service sees the rest of the tree read-only, but never its own folder
    if "ro" in options:
        yield failure(
            name, seen, "can't be written to", "mount it read-write; `dmesg` tells whether the disk has failed"
        )
    yield ok(name, seen)


def room(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    config = wanted.hypervisor
    if config is None:
        yield skipped("disk", "there is no hypervisor here")
        return
    free = machine.free_mib(config.state_dir)
    name, seen = f"room in {config.state_dir}", f"{free} MiB free"
    if free < config.min_free_mib:
        yield failure(
            name,
            seen,
            f"VMs are not offered below {config.min_free_mib} MiB (min_free_mib)",
            "make room: `wnodes images gc` on the head node, or a larger disk",
        )
    else:
        yield from _caches(machine, config, name, free)
    yield ok(name, seen)


def _caches(machine: Machine, config: HypervisorConfig, name: str, free: int) -> Iterator[Finding]:
    taken = sum(size_mib(machine, os.path.join(config.state_dir, folder)) for folder in ("images", "templates"))
    allowed = config.image_cache_mib + config.template_cache_mib
    if free + taken < allowed + config.min_free_mib:
        yield warning(
            name,
            f"{free} MiB free, {taken} MiB in caches",
            f"image_cache_mib {config.image_cache_mib} and template_cache_mib {config.template_cache_mib} allow more "
            "than the disk has: it would fill up before the caches make room",
            "lower the two in hypervisor_settings, or give it a larger disk",
        )


def scratch(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    config, bait = wanted.hypervisor, wanted.bait
    if config is None or bait is None:
        return
    most = machine.total_mib(config.state_dir) - config.min_free_mib
    told = f"{max(0, most)} MiB of disk for VMs"
    sizes = {"bait_default_scratch_mib": bait.default_scratch_mib}
    waiting = 0
    for flavour in bait.pool.flavours:
        size = flavour.scratch_mib or bait.default_scratch_mib
        sizes[f"scratch disk of flavour {flavour.tag}"] = size
        waiting += flavour.waiting * (size + config.overlay_mib)
    for name, size in sizes.items():
        if size > most:
            yield failure(name, f"{size} MiB", f"never fits: the node has {told}", "make it smaller")
    if waiting > most:
        yield warning(
            "scratch disks of waiting VMs",
            f"{waiting} MiB",
            f"do not fit together: the node has {told}",
            "let fewer wait in bait_pool, or give them less scratch",
        )
    yield ok("scratch disks", told)


CHECKS = (
    Check("disk.file_system", "file system of the state directory: local, lasting, writable", file_system, (NODE,)),
    Check("disk.room", "free room there, against what the caches may take", room, (NODE,)),
    Check("disk.scratch", "scratch disks that are configured, against the disk", scratch, (NODE,)),
)
