# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change is made to what is there now, or not at all."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.hypervisor.node_fixture import request
from wnodes.engine.journal import Journal
from wnodes.hypervisor.events import EventLog
from wnodes.hypervisor.registry import Registry, Superseded, is_gone
from wnodes.model.clock import FakeClock
from wnodes.model.errors import StateError
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
