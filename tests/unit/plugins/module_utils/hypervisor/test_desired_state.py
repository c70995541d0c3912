# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The difference is computed once; waiting ends with the state, not with an event."""

from __future__ import annotations

import itertools

import pytest

from tests.unit.plugins.module_utils.hypervisor.node_fixture import request
from wnodes.hypervisor import desired_state
from wnodes.hypervisor.fake import FakeHypervisor
from wnodes.model.errors import StateError, UnavailableError
from wnodes.model.states import VmState


@pytest.fixture
def api() -> FakeHypervisor:
    return FakeHypervisor(auto_ready=False)


def test_waiting_sees_the_state_come(api: FakeHypervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    api.create(request())
    steps = iter([VmState.PERSONALISING, VmState.READY])
    events = api.events
    monkeypatch.setattr(api, "events", lambda after, timeout_s: api.put("r1", next(steps)) and events(after, timeout_s))
    desired_state.wait(api, "r1", True, 60)
    assert api.get("r1").state is VmState.READY


def test_waiting_ends_when_it_broke(api: FakeHypervisor) -> None:
    api.create(request())
    api.put("r1", VmState.BROKEN, "kernel panic")
    with pytest.raises(StateError, match="kernel panic"):
        desired_state.wait(api, "r1", True, 60)


def test_waiting_ends_when_it_was_taken_away(api: FakeHypervisor) -> None:
    api.create(request())
    api.destroy("r1")
    with pytest.raises(StateError, match="was removed"):
        desired_state.wait(api, "r1", True, 60)
    desired_state.wait(api, "r1", False, 60)


def test_waiting_ends_in_time(api: FakeHypervisor) -> None:
    api.create(request())
    clock = itertools.count()
    with pytest.raises(UnavailableError, match="is not gone after 5 s"):
        desired_state.wait(api, "r1", False, 5, lambda: next(clock))


def test_what_is_on_its_way_down_needs_nothing_more(api: FakeHypervisor) -> None:
    api.create(request())
    api.put("r1", VmState.RECYCLING)
    assert not desired_state.difference(api, "r1", None).changed
    with pytest.raises(StateError, match="is being removed"):
        desired_state.difference(api, "r1", request())
