# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt, QEMU, virtiofsd, the appliance's kernel."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.plugins.module_utils.doctor.machine_fixture import Recorded, bad, node, only, outcomes
from wnodes.doctor.check import CheckOutcome
from wnodes.model.errors import VirtError
from wnodes.virt.base import Versions


def test_a_libvirt_that_does_not_answer_is_a_failure_once_it_is_installed() -> None:
    machine = Recorded()
    machine.libvirt = VirtError(object="libvirt", reason="Failed to connect socket\nmore")
    assert only(machine, node(), "libvirt.answers").reason == "does not answer: Failed to connect socket"
    assert outcomes(machine, node(False))["libvirt.answers"].outcome is CheckOutcome.SKIPPED


@pytest.mark.parametrize(("qemu", "libvirt", "seen"), [("7.2.0", "8.0.0", "8.0.0"), ("6.2.0", "9.0.0", "6.2.0")])
def test_versions_older_than_those_tested_are_a_warning(qemu: str, libvirt: str, seen: str) -> None:
    machine = Recorded()
    machine.libvirt = Versions(qemu, libvirt, "")
    found = only(machine, node(), "libvirt.answers")
    assert (found.outcome, found.value) == (CheckOutcome.WARNING, seen)


def test_control_groups_without_controllers_matter_where_templates_are_made() -> None:
    machine = Recorded()
    machine.files["/sys/fs/cgroup/cgroup.controllers"] = "\n"
    assert "template_cache_mib" in only(machine, node(), "libvirt.control_groups").hint
    wanted = node()
    assert wanted.hypervisor is not None
    assert bad(machine, replace(wanted, hypervisor=replace(wanted.hypervisor, template_cache_mib=0))) == {}
    del machine.files["/sys/fs/cgroup/cgroup.controllers"]
    machine.files["/sys/fs/cgroup/cpu/tasks"] = ""
    assert bad(machine, node()) == {}


@pytest.mark.parametrize(
    ("file", "check"),
    [("/usr/bin/qemu-system-x86_64", "libvirt.qemu"), ("/usr/lib/qemu/virtiofsd", "libvirt.virtiofsd")],
)
def test_programs_that_vms_need_are_missed(file: str, check: str) -> None:
    machine = Recorded()
    del machine.files[file]
    assert only(machine, node(), check).hint


def test_a_folder_that_vms_shall_see_must_be_there() -> None:
    machine = Recorded()
    del machine.files["/home/alice"]
    assert only(machine, node(), "libvirt.virtiofsd").object == "folder /home"


def test_the_appliance_needs_a_kernel_with_modules_where_images_are_worked_on() -> None:
    machine, wanted = Recorded(), node()
    del machine.files["/lib/modules/6.1.0-40-cloud-amd64/modules.dep"]
    assert bad(machine, wanted) == {}
    assert wanted.hypervisor is not None
    sealing = replace(wanted, hypervisor=replace(wanted.hypervisor, syslog_listen="10.0.0.11"))
    assert "linux-image-cloud-amd64" in only(machine, sealing, "libvirt.appliance").hint
    machine.modes["/lib/modules"] = 0  # as a service's sandbox has it
    assert outcomes(machine, sealing)["libvirt.appliance"].outcome is CheckOutcome.SKIPPED
