# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""KVM: flags, device, and whether a guest boots with it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.plugins.module_utils.doctor.machine_fixture import Recorded, bad, node, only, outcomes
from wnodes.doctor.check import CheckOutcome, Wanted
from wnodes.virt.accel import Accel


def asking(accel: str, running: bool = True) -> Wanted:
    wanted = node(running)
    assert wanted.hypervisor is not None
    return replace(wanted, hypervisor=replace(wanted.hypervisor, accel=accel))


def without_flag(hypervisor: bool) -> Recorded:
    machine = Recorded()
    machine.files["/proc/cpuinfo"] = "flags\t\t: fpu vme" + " hypervisor" * hypervisor
    return machine


@pytest.mark.parametrize(("accel", "outcome"), [("auto", CheckOutcome.WARNING), ("kvm", CheckOutcome.FAILURE)])
@pytest.mark.parametrize(("nested", "cure"), [(True, "nested virtualisation"), (False, "firmware")])
def test_a_processor_without_virtualisation_is_as_bad_as_the_site_says(
    accel: str, outcome: CheckOutcome, nested: bool, cure: str
) -> None:
    found = only(without_flag(nested), asking(accel), "virtualisation.cpu")
    assert found.outcome is outcome
    assert cure in found.hint


def test_a_site_that_does_without_kvm_is_not_told_of_it() -> None:
    machine = without_flag(True)
    del machine.files["/dev/kvm"]
    found = outcomes(machine, asking("qemu"))
    assert {found[f"virtualisation.{what}"].outcome for what in ("cpu", "kvm")} == {CheckOutcome.SKIPPED}


def test_a_device_that_is_not_there_and_a_guest_that_does_not_boot_are_named() -> None:
    machine = Recorded()
    machine.accel = Accel("qemu", "a guest kernel on /dev/kvm did not end within 20 s")
    found = only(machine, node(), "virtualisation.kvm")
    assert found.reason == "a guest kernel on /dev/kvm did not end within 20 s: VMs are slow"
    assert bad(machine, node(running=False)) == {}
    del machine.files["/dev/kvm"]
    assert "kvm_intel" in only(machine, node(running=False), "virtualisation.kvm").hint


@pytest.mark.parametrize("file", ["/boot/vmlinuz-6.1.0-40-cloud-amd64", "/usr/bin/qemu-system-x86_64"])
def test_nothing_is_booted_without_qemu_or_kernel(file: str) -> None:
    machine = Recorded()
    del machine.files[file]
    assert outcomes(machine, node())["virtualisation.kvm"].outcome is CheckOutcome.SKIPPED
