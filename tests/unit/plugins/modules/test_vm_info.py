# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module reads and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.wnodes.farm.plugins.modules import vm_info
from wnodes.hypervisor.fake import FakeHypervisor
from wnodes.model.resources import Resources
from wnodes.model.vm import VmRequest

Module = Callable[..., dict[str, Any]]


@pytest.fixture
def hypervisor(monkeypatch: pytest.MonkeyPatch) -> FakeHypervisor:
    fake = FakeHypervisor()
    for name in ("a1", "a2"):
        fake.create(VmRequest(name, "alice", "worker_debian12_x86_64", Resources(1, 512)))
    fake.destroy("a2")
    monkeypatch.setattr(vm_info, "backend", lambda socket: fake)
    return fake


@pytest.fixture
def module(hypervisor: FakeHypervisor, capsys: pytest.CaptureFixture[str]) -> Module:
    def call(**options: Any) -> dict[str, Any]:
        with patch_module_args(options), pytest.raises(SystemExit):
            vm_info.main()
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    return call


@pytest.mark.parametrize("check", [True, False])
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
def test_it_returns_what_was_asked_for(module: Module, check: bool, options: dict[str, Any], ids: list[str]) -> None:
    answer = module(**options, _ansible_check_mode=check)
    assert [vm["request"]["id"] for vm in answer["vms"]] == ids
    assert (answer["status"]["ok"], answer["status"]["tags"]) == (True, ["worker_debian12_x86_64"])
    assert not answer["changed"]


def test_a_silent_hypervisor_is_told(module: Module, hypervisor: FakeHypervisor) -> None:
    hypervisor.down = True
    assert module()["error"]["error"] == "UnavailableError"
