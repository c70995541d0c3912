# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt, QEMU and what belongs to them."""

from __future__ import annotations

from typing import Iterator

from ..hypervisor.config import HypervisorConfig
from ..image.recipe.operations import Recipe
from ..model.errors import WnodesError
from ..virt.accel import QEMU
from .check import NODE, Check, Finding, Wanted, failure, first_line, ok, skipped, warning
from .host import numbers
from .machine import Machine

TESTED_LIBVIRT, TESTED_QEMU = (9, 0), (7, 0)
VIRTIOFSD = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/virtiofsd")
CONTROLLERS, LEGACY_CPU = "/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/cpu"
MODULES = "/lib/modules"
INSTALL = "run the playbook site: the role hypervisor installs it"


def answers(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    uri = wanted.hypervisor.libvirt_uri if wanted.hypervisor is not None else "qemu:///system"
    name = f"libvirt ({uri})"
    try:
        seen = machine.versions(uri)
    except WnodesError as error:
        if wanted.running:
            cure = "`systemctl status libvirtd`; the role hypervisor installs it"
            yield failure(name, "", f"does not answer: {first_line(error)}", cure)
        else:
            yield skipped(
                name, f"is not here yet, or does not run: {first_line(error)}", "the role hypervisor installs it"
            )
        return
    if numbers(seen.libvirt) < TESTED_LIBVIRT:
        yield warning(name, seen.libvirt, "is older than what this is tested with, 9.0", "update the distribution")
    if numbers(seen.qemu) < TESTED_QEMU:
        yield warning("QEMU", seen.qemu, "is older than what this is tested with, 7.0", "update the distribution")
    yield ok(name, f"libvirt {seen.libvirt}, QEMU {seen.qemu}")


def control_groups(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    controllers = machine.read(CONTROLLERS)
    there = bool((controllers or "").strip()) or (controllers is None and machine.there(LEGACY_CPU))
    if not there and (wanted.hypervisor is None or wanted.hypervisor.template_cache_mib > 0):
        yield warning(
            "control groups",
            "",
            "without controllers libvirt gives VMs no group, and plugs no file system into restored ones",
            "give libvirtd a control group tree with controllers, or set hypervisor_settings.template_cache_mib: 0",
        )
    yield ok("control groups", (controllers or "").strip())


def qemu(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    found = [path for path in QEMU if machine.there(path)]
    if not found:
        yield failure("QEMU", " ".join(QEMU), "none of these is there", INSTALL)
    yield ok("QEMU", " ".join(found))


def virtiofsd(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    config = wanted.hypervisor
    if config is None or not config.mounts_allowed:
        yield skipped("virtiofsd", "VMs see no folders of the node")
    elif not any(map(machine.there, VIRTIOFSD)):
        cure = "install virtiofsd (in Debian 12 it comes with qemu-system-common)"
        yield failure("virtiofsd", "", "is not there: folders of the node can't be shown to VMs", cure)
    for folder in config.mounts_allowed if config is not None else ():
        if not machine.there(folder):
            yield failure(
                f"folder {folder}",
                "",
                "is not there, and VMs are to see it",
                "mount it, or take it out of hypervisor_mounts_allowed and bait_mounts",
            )


def appliance(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    config = wanted.hypervisor
    if config is None or _untouched(config):
        yield skipped("libguestfs", "this node puts nothing on its images")
        return
    if machine.mode(MODULES) == 0:
        yield skipped(MODULES, "can't be seen from within the service", "run `wnodes doctor` on the node itself")
        return
    kernels = [name.partition("-")[2] for name in machine.entries("/boot") if name.startswith("vmlinuz-")]
    usable = [kernel for kernel in kernels if machine.there(f"{MODULES}/{kernel}")]
    if not usable:
        yield failure(
            "libguestfs' appliance",
            " ".join(kernels),
            "there is no kernel with its modules to run it with",
            "install linux-image-cloud-amd64 (it is in hypervisor_packages)",
        )
    yield ok("libguestfs' appliance", " ".join(usable))


def _untouched(config: HypervisorConfig) -> bool:
    return config.seal == Recipe()


CHECKS = (
    Check("libvirt.answers", "libvirt answers; its version and QEMU's", answers, (NODE,)),
    Check("libvirt.control_groups", "control groups for VMs", control_groups, (NODE,)),
    Check("libvirt.qemu", "QEMU's program", qemu, (NODE,), running=True),
    Check(
        "libvirt.virtiofsd",
        "what shows folders of the node to VMs, and these folders",
        virtiofsd,
        (NODE,),
        running=True,
    ),
    Check("libvirt.appliance", "a kernel for libguestfs' appliance", appliance, (NODE,), running=True),
)
