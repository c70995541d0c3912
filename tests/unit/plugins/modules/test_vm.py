# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module: create, change, delete × check mode × repeated, with diff."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.wnodes.farm.plugins.modules import vm
from tests.unit.plugins.modules.matrix import Answer, Call, Step, run, walk
from wnodes.hypervisor.fake import FakeHypervisor
from wnodes.model.resources import Resources
from wnodes.model.states import VmState

TAG = "worker_debian12_x86_64"


@pytest.fixture
def hypervisor(monkeypatch: pytest.MonkeyPatch) -> FakeHypervisor:
    fake = FakeHypervisor()
    monkeypatch.setattr(vm, "backend", lambda socket: fake)
    return fake


@pytest.fixture
def module(hypervisor: FakeHypervisor, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(**options: Any) -> Answer:
        return run(vm, capsys, **{"id": "a1", "tag": TAG, **options})

    return call


def test_create_change_and_delete_are_foretold_done_once_and_shown(module: Call, hypervisor: FakeHypervisor) -> None:
    steps = [
        Step("create", differs=("vm",)),
        Step("change", {"cpus": 8}, refused="exists with other properties"),
        Step("delete", {"state": "absent"}, differs=("vm",)),
    ]
    walk(module, lambda: dict(hypervisor.vms), steps)


def test_the_vm_is_what_was_asked_for(module: Call, hypervisor: FakeHypervisor) -> None:
    mounts = [{"source": "/home", "target": "/home"}]
    done = module(cpus=2, memory_mib=512, scratch_mib=100, mounts=mounts, owner="alice")
    assert (done["vm"]["state"], done["vm"]["lease"]["name"]) == ("READY", "vwn-100")
    request = hypervisor.vms["a1"].request
    assert (request.owner, request.resources, request.mounts[0].readonly) == ("alice", Resources(2, 512, 100), False)


def test_absent_needs_no_tag_and_waits_for_the_end(module: Call, hypervisor: FakeHypervisor) -> None:
    module()
    assert module(state="absent", tag=None)["vm"] == {}
    assert hypervisor.vms["a1"].state is VmState.GONE


def test_a_vm_is_never_changed(module: Call) -> None:
    module()
    failed = module(cpus=8)
    assert failed["error"]["error"] == "StateError"
    assert "other properties" in failed["msg"]


def test_an_id_is_used_once(module: Call) -> None:
    module()
    module(state="absent")
    assert "existed and was removed" in module(check=True)["msg"]


def test_a_vm_that_breaks_fails_with_its_reason(module: Call, hypervisor: FakeHypervisor) -> None:
    module()
    hypervisor.put("a1", VmState.BROKEN, "its guest agent did not answer")
    assert "its guest agent did not answer" in module()["msg"]


def test_it_does_not_wait_for_ever(module: Call, hypervisor: FakeHypervisor) -> None:
    hypervisor.auto_ready = False
    assert "is not READY after 0 s" in module(timeout=0)["msg"]
    assert module(wait=False)["vm"]["state"] == "STARTING"


def test_a_silent_hypervisor_is_told_with_all_parts_of_the_error(module: Call, hypervisor: FakeHypervisor) -> None:
    hypervisor.down = True
    failed = module()
    assert failed["failed"]
    assert failed["error"] == {
        "error": "UnavailableError",
        "object": "fake hypervisor",
        "value": "",
        "reason": "does not answer",
        "hint": "",
    }
