# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hypervisor starts VMs from templates on a real libvirt and QEMU: each its own, none booted.

The tests of this file share one node and run in their order.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.libvirt_fixture import until
from tests.integration.machine import Machine, running
from tests.releases import TAG
from wnodes.hypervisor.config import TemplateFlavour
from wnodes.hypervisor.desired_state import wait
from wnodes.model.image import CachedImage, Release

UP_S = 120.0
ROW = 20
#: what must differ between any two VMs, one line each: read as soon as the VM is ready
UNIQUE = r"""
cat /etc/machine-id
head -c 16 /dev/urandom | od -An -tx1
perl -e '$seen = "\0" x 16; syscall 318, $seen, 16, 0; print unpack("H*", $seen), "\n"' # getrandom
cat /proc/sys/kernel/random/uuid
cat /sys/class/net/eth0/address
hostname
ip -4 -o address show scope global
"""


@pytest.fixture(scope="module")
def machine(worker_image: CachedImage, worker_release: Release) -> Iterator[Machine]:
    flavours = (TemplateFlavour(TAG, 1, 512, 256),)
    with running(worker_image, worker_release, "qemu", names=4, template_flavours=flavours) as machine:
        yield machine


def up(machine: Machine, vm_id: str) -> list[str]:
    """Make a VM of the flavour that has a template; return what is its own."""
    machine.ask(vm_id, scratch_mib=256)
    wait(machine.hypervisor, vm_id, True, UP_S)
    asked = time.time()
    clock = float(machine.guest("date +%s.%N", vm_id))
    assert asked - 3 < clock < time.time() + 1
    return machine.guest(UNIQUE, vm_id).splitlines()


def down(machine: Machine, vm_id: str) -> None:
    machine.hypervisor.destroy(vm_id)
    wait(machine.hypervisor, vm_id, False, 30.0)


def test_a_configured_template_is_built_in_the_background(machine: Machine) -> None:
    until("it is being built", lambda: bool(machine.hypervisor.status().templates.building))
    until("the template is there", lambda: machine.hypervisor.status().templates.count == 1, UP_S)
    assert machine.hypervisor.list() == ()
    assert machine.host.list() == ()
    assert machine.hypervisor.status().ok


def test_many_in_a_row_are_each_their_own(machine: Machine) -> None:
    seen: list[str] = []
    for number in range(0, ROW, 2):
        pair = [f"vm{number}", f"vm{number + 1}"]
        with ThreadPoolExecutor(2) as pool:
            found = dict(zip(pair, pool.map(lambda vm_id: up(machine, vm_id), pair), strict=True))
        for vm_id, values in found.items():
            vm = machine.hypervisor.get(vm_id)
            assert vm.path == "restore"
            assert vm.lease is not None
            assert len(values) == 7
            assert values[4:6] == [vm.lease.mac, vm.name]
            assert f"{vm.address}/24" in values[6]
            assert (
                machine.guest("cat /home/greeting; grep -c ' /scratch ' /proc/mounts", vm_id)
                == "hello from the node\n1\n"
            )
            seen += [*values[:4], f"{number} {values[4]}", f"{number} {values[5]}", f"{number} {values[6]}"]
        for vm_id in pair:
            down(machine, vm_id)
    assert len(seen) == 7 * ROW
    assert len(set(seen)) == len(seen)


def test_a_restart_in_the_middle_of_a_restore_goes_on_with_it(machine: Machine) -> None:
    machine.ask("again", scratch_mib=256)
    until("it is restored", lambda: machine.hypervisor.get("again").path == "restore")
    machine.hypervisor.stop()
    machine.build()
    wait(machine.hypervisor, "again", True, UP_S)
    assert machine.hypervisor.get("again").path == "restore"
    assert machine.guest("hostname", "again").strip() == machine.hypervisor.get("again").name
    down(machine, "again")


def test_a_damaged_template_costs_a_boot_and_is_built_anew(machine: Machine) -> None:
    (folder,) = (machine.libvirt.folder / "state" / "templates").iterdir()
    with (folder / "memory.save").open("ab") as file:
        file.write(b"x")
    machine.ask("cold", scratch_mib=256)
    wait(machine.hypervisor, "cold", True, UP_S)
    assert machine.hypervisor.get("cold").path == "cold"
    until("there is a template again", lambda: machine.hypervisor.status().templates.count == 1, UP_S)
    assert up(machine, "warm")
    assert machine.hypervisor.get("warm").path == "restore"
    for vm_id in ("cold", "warm"):
        down(machine, vm_id)


def test_a_stop_does_not_wait_for_a_build(machine: Machine) -> None:
    (folder,) = (machine.libvirt.folder / "state" / "templates").iterdir()
    (folder / "template.json").unlink()
    machine.hypervisor.stop()
    machine.build()
    until("it is being built", lambda: len(machine.host.list()) == 1)
    begun = time.monotonic()
    machine.hypervisor.stop()
    assert time.monotonic() - begun < 5
    machine.build()
    until("the template is there", lambda: machine.hypervisor.status().templates.count == 1, UP_S)
    assert machine.host.list() == ()
    assert machine.libvirt.qemu_pids() == []
