# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hardware virtualisation that really boots a guest."""

from __future__ import annotations

import os
from typing import Callable, Iterator

from ..virt.accel import DEVICE, KVM, QEMU, TCG
from .check import NODE, Check, Finding, Wanted, failure, ok, skipped, warning
from .machine import Machine

CPUINFO, BOOT = "/proc/cpuinfo", "/boot"


def _asked(wanted: Wanted) -> str:
    return wanted.hypervisor.accel if wanted.hypervisor is not None else "auto"


def _lack(wanted: Wanted) -> Callable[[str, str, str, str], Finding]:
    """Return how bad it is where KVM does not work: without it VMs run, but slowly."""
    return failure if _asked(wanted) == KVM else warning


def cpu(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    if _asked(wanted) == TCG:
        yield skipped("processor", "hypervisor_accel says qemu: KVM is not used")
        return
    text = machine.read(CPUINFO) or ""
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    if not {"vmx", "svm"} & set(flags):
        if "hypervisor" in flags:
            cure = (
                "this node is itself a VM: enable nested virtualisation on its host, and give it the host's CPU model"
            )
        else:
            cure = "switch on VT-x or AMD-V in the firmware"
        yield _lack(wanted)("processor", "no vmx or svm flag", "it has no virtualisation: VMs are slow", cure)
        return
    yield ok("processor", "vmx" if "vmx" in flags else "svm")


def kvm(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    if _asked(wanted) == TCG:
        yield skipped(DEVICE, "hypervisor_accel says qemu: KVM is not used")
    elif not machine.there(DEVICE):
        cure = "load the module kvm_intel or kvm_amd; `dmesg | grep -i kvm` tells why it refuses"
        yield _lack(wanted)(DEVICE, "", "is not there: VMs are slow", cure)
    elif not wanted.running or wanted.hypervisor is None:
        yield ok(DEVICE, "is there; a guest kernel is booted with it before the first VM")
    else:
        yield from _boots(machine, wanted, os.path.join(wanted.hypervisor.state_dir, "hypervisor", "accel.json"))


def _boots(machine: Machine, wanted: Wanted, cache: str) -> Iterator[Finding]:
    kernels = [name for name in machine.entries(BOOT) if name.startswith("vmlinuz-")]
    if not kernels or not any(map(machine.there, QEMU)):
        yield skipped(DEVICE, "there is no QEMU or no kernel to boot with it", "see libvirt.qemu and libvirt.appliance")
        return
    for found in machine.tried(cache, os.path.join(BOOT, kernels[-1])):
        if found.name != KVM:
            cure = "look at `dmesg | grep -i kvm`; nested virtualisation often fails so; or say hypervisor_accel: qemu"
            yield _lack(wanted)(DEVICE, "", f"{found.why}: VMs are slow", cure)
        yield ok(DEVICE, found.why)


CHECKS = (
    Check("virtualisation.cpu", "the processor's virtualisation", cpu, (NODE,)),
    Check("virtualisation.kvm", "whether a guest kernel really boots with KVM", kvm, (NODE,)),
)
