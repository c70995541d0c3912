# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridge, uplink, packet filter."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.unit.plugins.module_utils.doctor.machine_fixture import Recorded, bad, failing, node, only, outcomes
from wnodes.doctor.check import CheckOutcome

BRIDGE = "/sys/class/net/br.default/"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (("flags", "bridge/stp_state", "brif/eth0", "brif/vnet0"), "there is no such device"),
        (("bridge/stp_state",), "is a device, but no bridge"),
        (("brif/eth0",), "has no uplink"),
    ],
)
def test_a_bridge_that_is_none_or_leads_nowhere_is_a_failure(files: tuple[str, ...], says: str) -> None:
    machine = Recorded()
    for file in files:
        del machine.files[BRIDGE + file]
    found = only(machine, node(), "network.bridge")
    assert says in found.reason
    assert found.outcome is CheckOutcome.FAILURE


def test_a_bridge_that_is_down_is_a_failure() -> None:
    machine = Recorded()
    machine.files[BRIDGE + "flags"] = "0x1002\n"
    assert only(machine, node(), "network.bridge").reason == "is not up"


def test_a_bridge_without_an_address_is_a_warning() -> None:
    machine = Recorded()
    machine.addressed = False
    assert only(machine, node(), "network.bridge").outcome is CheckOutcome.WARNING


def test_an_uplink_that_can_not_be_taken_is_refused_with_what_the_role_would_say() -> None:
    machine = Recorded()
    machine.says["ip"] = json.dumps([{"ifname": "eth0", "master": "bond0"}, {"ifname": "bond0"}])
    machine.says["ip -json -4"] = machine.says["ip -json -6"] = "[]"
    found = only(machine, node(False, uplink="eth0"), "network.uplink")
    assert (found.object, found.reason) == ("uplink eth0", "already a port of bond0")
    assert "this node has bond0, eth0" in only(machine, node(False, uplink="eth1"), "network.uplink").hint


def test_before_the_roll_out_a_missing_bridge_is_missed_only_without_an_uplink() -> None:
    machine = Recorded()
    machine.files = {path: text for path, text in machine.files.items() if not path.startswith(BRIDGE)}
    assert "hypervisor_uplink" in only(machine, node(False), "network.bridge").hint
    wanted = node()
    assert wanted.hypervisor is not None
    without = replace(wanted, hypervisor=replace(wanted.hypervisor, bridge=""))
    assert outcomes(machine, without)["network.bridge"].outcome is CheckOutcome.SKIPPED
    assert outcomes(machine, node(False))["network.uplink"].outcome is CheckOutcome.SKIPPED


def test_a_packet_filter_that_drops_what_is_forwarded_is_a_warning_where_it_is_asked() -> None:
    machine = Recorded()
    machine.says["iptables"] = "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER"
    assert bad(machine, node()) == {}
    machine.files["/proc/sys/net/bridge/bridge-nf-call-iptables"] = "1\n"
    found = only(machine, node(), "network.packet_filter")
    assert (found.value, found.hint[:44]) == ("-P FORWARD DROP", "set net.bridge.bridge-nf-call-iptables=0, or")
    machine.says["iptables"] = "-P FORWARD ACCEPT"
    assert bad(machine, node()) == {}
    machine.says["iptables"] = failing("exit code 4: Permission denied (you must be root)")
    assert outcomes(machine, node())["network.packet_filter"].outcome is CheckOutcome.SKIPPED


def test_vlans_are_told_for_information_only() -> None:
    machine = Recorded()
    del machine.files["/proc/net/vlan/config"]
    assert outcomes(machine, node())["network.vlan"].outcome is CheckOutcome.SKIPPED
