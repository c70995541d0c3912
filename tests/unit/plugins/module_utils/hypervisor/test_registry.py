# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change is made to what is there now, or not at all."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.hypervisor.node_fixture import request
from wnodes.engine.journal import Journal
from wnodes.hypervisor.events import EventLog
from wnodes.hypervisor.registry import Registry, Superseded, is_gone, usual_notation
from wnodes.model.clock import FakeClock
from wnodes.model.errors import StateError
from wnodes.model.lease import Lease, NetworkSettings
from wnodes.model.states import VmState
from wnodes.model.vm import Vm


@pytest.fixture
def registry() -> Registry:
    return Registry(Journal(":memory:", Vm, is_gone), FakeClock(), EventLog())


def test_who_moves_first_wins(registry: Registry) -> None:
    vm, _ = registry.add(request())
    registry.move(vm, VmState.RECYCLING)
    for late in (lambda: registry.move(vm, VmState.IMAGE), lambda: registry.change(vm, accel="kvm")):
        with pytest.raises(Superseded):
            late()
    assert registry.get("r1").state is VmState.RECYCLING


def test_a_change_keeps_what_others_changed(registry: Registry) -> None:
    vm, _ = registry.add(request())
    registry.change(vm, accel="kvm")
    registry.change(vm, uuid="u")
    assert (registry.get("r1").accel, registry.get("r1").uuid) == ("kvm", "u")


def test_moves_that_the_tables_forbid_are_refused(registry: Registry) -> None:
    vm, _ = registry.add(request())
    with pytest.raises(StateError, match="no such move"):
        registry.move(vm, VmState.READY)


def test_what_a_vm_waits_for_is_shown_until_its_next_move(registry: Registry) -> None:
    vm, _ = registry.add(request())
    registry.wait("r1", "nameserver: does not answer")
    assert registry.shown(registry.get("r1")).reason == "waiting: nameserver: does not answer"
    assert registry.get("r1").reason == ""
    registry.move(vm, VmState.IMAGE)
    assert registry.shown(registry.get("r1")).reason == ""


def leased(registry: Registry, vm_id: str, address: str) -> Vm:
    vm, _ = registry.add(request(vm_id))
    lease = Lease(f"vwn-{vm_id}", "52:54:00:00:00:01", address, NetworkSettings(24), vm_id, "hv1", 1, 0.0)
    return registry.move(registry.move(vm, VmState.IMAGE, lease=lease), VmState.STARTING)


def test_a_vm_has_its_address_from_its_start_until_it_is_gone(registry: Registry) -> None:
    assert registry.senders() == {}
    vm = leased(registry, "r1", "10.77.0.100")
    assert registry.senders() == {"10.77.0.100": vm}
    gone = registry.move(registry.move(vm, VmState.RECYCLING), VmState.GONE)
    assert gone.address == "10.77.0.100"
    assert registry.senders() == {}


def test_of_two_with_one_address_it_is_the_newer_ones(registry: Registry) -> None:
    leased(registry, "old", "FD00:0::64")
    newer = leased(registry, "new", "fd00::0064")
    assert registry.senders() == {"fd00::64": newer}


def test_a_lease_without_a_started_domain_has_no_sender(registry: Registry) -> None:
    vm, _ = registry.add(request())
    lease = Lease("vwn-1", "52:54:00:00:00:01", "10.77.0.100", NetworkSettings(24), "r1", "hv1", 1, 0.0)
    registry.move(vm, VmState.IMAGE, lease=lease)
    assert registry.senders() == {}


@pytest.mark.parametrize(
    ("given", "usual"),
    [
        ("10.77.0.100", "10.77.0.100"),
        ("::ffff:10.77.0.100", "10.77.0.100"),
        ("fe80::1%br.default", "fe80::1"),
        ("FD00:0:0::A", "fd00::a"),
        ("no:address", "no:address"),
    ],
)
def test_addresses_are_compared_in_one_notation(given: str, usual: str) -> None:
    assert usual_notation(given) == usual


def test_a_vm_is_observed_when_it_is_ready_and_when_it_is_gone() -> None:
    seen: list[VmState] = []
    registry = Registry(
        Journal(":memory:", Vm, is_gone), FakeClock(), EventLog(), observe=lambda vm: seen.append(vm.state)
    )
    vm, _ = registry.add(request())
    way = (VmState.IMAGE, VmState.STARTING, VmState.PERSONALISING, VmState.READY, VmState.RECYCLING, VmState.GONE)
    for state in way:
        vm = registry.move(vm, state)
    assert seen == [VmState.READY, VmState.GONE]
