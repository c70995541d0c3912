# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module reads and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.wnodes.farm.plugins.modules import vm_info
from tests.unit.plugins.modules.matrix import Answer, Call, only_reads, run
from wnodes.hypervisor.fake import FakeHypervisor
from wnodes.model.resources import Resources
from wnodes.model.vm import VmRequest


@pytest.fixture
def hypervisor(monkeypatch: pytest.MonkeyPatch) -> FakeHypervisor:
    fake = FakeHypervisor()
    for name in ("a1", "a2"):
        fake.create(VmRequest(name, "alice", "worker_debian12_x86_64", Resources(1, 512)))
    fake.destroy("a2")
    monkeypatch.setattr(vm_info, "backend", lambda socket: fake)
    return fake


@pytest.fixture
def module(hypervisor: FakeHypervisor, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(**options: Any) -> Answer:
        return run(vm_info, capsys, **options)

    return call


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, ["a1"]),
        ({"gone": True}, ["a1", "a2"]),
        ({"id": "a1"}, ["a1"]),
        ({"id": "a2"}, []),
        ({"id": "x"}, []),
    ],
)
def test_it_returns_what_was_asked_for(module: Call, options: dict[str, Any], ids: list[str]) -> None:
    answer = module(**options)
    assert [vm["request"]["id"] for vm in answer["vms"]] == ids
    assert (answer["status"]["ok"], answer["status"]["tags"]) == (True, ["worker_debian12_x86_64"])


def test_it_only_reads(module: Call, hypervisor: FakeHypervisor) -> None:
    only_reads(module, lambda: dict(hypervisor.vms), [{}, {"gone": True}, {"id": "a1"}])


def test_a_silent_hypervisor_is_told(module: Call, hypervisor: FakeHypervisor) -> None:
    hypervisor.down = True
    assert module()["error"]["error"] == "UnavailableError"
