# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules on the real thing: what they foretell is what they do, once; and those that read tell what is."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

from tests.e2e import lab
from tests.e2e.lab import TAG
from tests.unit.plugins.modules.matrix import Answer, Step, only_reads, walk

VM = {"id": "e2e-module", "tag": TAG, "memory_mib": 512}
BRIDGE = {"name": "br.default", "uplink": "host0"}


def call(host: str, module: str, *, check: bool = False, **options: Any) -> Answer:
    """Run one of our modules on a machine of the lab and return its answer."""
    more = ["--check"] * check
    arguments = ["-m", f"wnodes.farm.{module}", "-a", json.dumps(options), "--diff", "-vvv", *more]
    shown = lab.ansible("ansible", host, *arguments).stdout
    found = re.search(rf"^{host} \| \w+!? => (?=\{{)", shown, re.MULTILINE)
    assert found is not None, shown
    answer: Answer = json.JSONDecoder().raw_decode(shown, found.end())[0]
    return {key: value for key, value in answer.items() if key not in ("invocation", "ansible_facts")}


def domains() -> str:
    return lab.sh("hv1", "virsh -q list --all --name | grep -v '^template' | sort")


def network() -> str:
    return lab.sh("hv2", "ip -o -4 address; ip -4 route; bridge link; ls /etc/systemd/network")


def test_a_vm_is_made_never_changed_and_taken_away() -> None:
    steps = [
        Step("create", VM, differs=("vm",)),
        Step("change", {**VM, "cpus": 2}, refused="is there with other properties"),
        Step("delete", {**VM, "state": "absent"}, differs=("vm",)),
    ]
    walk(partial(call, "hv1", "vm"), domains, steps)


def test_a_bridge_is_taken_away_and_made_again() -> None:
    steps = [Step("delete", {**BRIDGE, "state": "absent"}), Step("create", BRIDGE)]
    try:
        walk(partial(call, "hv2", "bridge"), network, steps)
    finally:
        call("hv2", "bridge", **BRIDGE)
    lab.until("the site to be well", lambda: call("head", "node_info")["problems"] == [], lab.CLEAN_S)


def test_what_is_read_is_what_is() -> None:
    only_reads(partial(call, "hv1", "vm_info"), domains, [{"gone": True}])
    only_reads(partial(call, "head", "lease_info"), domains, [{}])
    nodes = call("head", "node_info")
    assert {node["name"]: sorted(node["services"]) for node in nodes["nodes"]} == {
        node: ["bait", "hypervisor"] for node in lab.NODES
    }
    assert nodes["problems"] == []
