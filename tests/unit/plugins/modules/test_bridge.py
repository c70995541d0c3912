# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module: create, change, delete × check mode × repeated, with diff."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils import basic

from ansible_collections.wnodes.farm.plugins.modules import bridge
from tests.unit.plugins.modules.matrix import Answer, Call, Step, run, walk
from wnodes.net.fake import FakeNetwork
from wnodes.net.plan import Addressing, Link


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> FakeNetwork:
    fake = FakeNetwork([Link("eth0", mac="52:54:00:00:00:01", addressing=Addressing(("192.0.2.10/24",)))])
    monkeypatch.setattr(bridge, "backend", lambda timeout: fake)
    return fake


@pytest.fixture
def module(network: FakeNetwork, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(**options: Any) -> Answer:
        return run(bridge, capsys, **{"uplink": "eth0", **options})

    return call


def test_create_change_and_delete_are_foretold_done_once_and_shown(module: Call, network: FakeNetwork) -> None:
    steps = [
        Step("create"),
        Step("change", {"name": "br.other"}, refused="already a port of br.default"),
        Step("delete", {"state": "absent"}),
    ]
    walk(module, lambda: dict(network.links), steps)


def test_where_nothing_is_wrong_nothing_is_told(module: Call) -> None:
    assert module()["actions"] != []
    again = module()
    assert again["diff"] == {"before": "", "after": ""}
    assert again["actions"] == []


def test_it_says_who_the_bridge_is(module: Call) -> None:
    assert module(name="br.42")["bridge"] == {"name": "br.42", "uplink": "eth0", "addresses": ["192.0.2.10/24"]}


def test_what_can_not_be_fails_with_all_parts_of_the_error(module: Call) -> None:
    failed = module(uplink="eth9")
    assert failed["failed"]
    assert failed["msg"] == "uplink eth9: no such device; this node has eth0"
    assert failed["error"] == {
        "error": "NetworkError",
        "object": "uplink eth9",
        "value": "",
        "reason": "no such device",
        "hint": "this node has eth0",
    }


def test_a_network_that_does_not_come_up_fails(module: Call, network: FakeNetwork) -> None:
    network.broken = "not as wanted after 30 s"
    assert "not as wanted after 30 s" in module()["msg"]


def test_the_backend_is_the_kernels_bridge() -> None:
    assert isinstance(bridge.backend(30), bridge.LinuxBridge)
    assert basic.AnsibleModule is bridge.AnsibleModule
