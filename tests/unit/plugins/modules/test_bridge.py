# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module: create, delete, refuse × check mode × repeated, with diff."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args

from ansible_collections.wnodes.farm.plugins.modules import bridge
from wnodes.net.fake import FakeNetwork
from wnodes.net.plan import Addressing, Link

Module = Callable[..., dict[str, Any]]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> FakeNetwork:
    fake = FakeNetwork([Link("eth0", mac="52:54:00:00:00:01", addressing=Addressing(("192.0.2.10/24",)))])
    monkeypatch.setattr(bridge, "backend", lambda timeout: fake)
    return fake


@pytest.fixture
def module(network: FakeNetwork, capsys: pytest.CaptureFixture[str]) -> Module:
    def call(check: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {"uplink": "eth0", **options, "_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            bridge.main()
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    return call


@pytest.mark.parametrize("state", ["present", "absent"])
def test_check_mode_foretells_and_touches_nothing(module: Module, network: FakeNetwork, state: str) -> None:
    if state == "absent":
        module()
    before = dict(network.links)
    foretold = module(check=True, state=state)
    assert foretold["changed"]
    assert network.links == before

    done = module(state=state)
    assert {key: done[key] for key in ("changed", "diff", "actions", "bridge")} == {
        key: foretold[key] for key in ("changed", "diff", "actions", "bridge")
    }
    assert done["diff"]["before"] != done["diff"]["after"]
    assert network.links != before

    for check in (True, False):
        again = module(check=check, state=state)
        assert not again["changed"]
        assert again["diff"] == {"before": "", "after": ""}
        assert again["actions"] == []


def test_it_says_who_the_bridge_is(module: Module) -> None:
    assert module(name="br.42")["bridge"] == {"name": "br.42", "uplink": "eth0", "addresses": ["192.0.2.10/24"]}


def test_what_can_not_be_fails_with_all_parts_of_the_error(module: Module) -> None:
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


def test_a_network_that_does_not_come_up_fails(module: Module, network: FakeNetwork) -> None:
    network.broken = "not as wanted after 30 s"
    assert "not as wanted after 30 s" in module()["msg"]


def test_the_backend_is_the_kernels_bridge() -> None:
    assert isinstance(bridge.backend(30), bridge.LinuxBridge)
    assert basic.AnsibleModule is bridge.AnsibleModule
