# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridge and uplink."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List

from ..net.linux_bridge import LinuxBridge
from .check import NODE, Check, Finding, Wanted, failure, ok, skipped, warning
from .machine import Machine

#: devices that libvirt makes for VMs
OF_VMS = ("vnet", "tap", "macvtap")
FILTER = "/proc/sys/net/bridge/bridge-nf-call-iptables"
VLAN = "/proc/net/vlan"


def uplink(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    if not wanted.uplink or wanted.hypervisor is None:
        yield skipped("uplink", "hypervisor_uplink is not set: the site makes the bridge itself")
        return
    bridge = wanted.hypervisor.bridge
    # what the role will do, computed and not done: it refuses what can't be
    plan = LinuxBridge(run=lambda argv, timeout: machine.run(*argv)).bridge_difference(bridge, wanted.uplink)
    yield ok(f"uplink {wanted.uplink}", f"{bridge} {'can be put before it' if plan.changed else 'stands before it'}")


def bridge(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    name = wanted.hypervisor.bridge if wanted.hypervisor is not None else ""
    if not name or (wanted.uplink and not wanted.running):
        yield skipped("bridge", "VMs are on QEMU's own network" if not name else "the role hypervisor makes it")
        return
    yield from judge_bridge(name, machine.links())


def judge_bridge(name: str, devices: List[Dict[str, Any]]) -> Iterator[Finding]:
    """Judge what ``ip -json`` says."""
    what = f"bridge {name}"
    there = next((device for device in devices if device.get("ifname") == name), None)
    if there is None:
        yield failure(
            what,
            "",
            "there is no such device",
            "name its uplink in hypervisor_uplink, or let the site's network make it",
        )
        return
    kind = there.get("linkinfo", {}).get("info_kind", "")
    if kind != "bridge":
        yield failure(what, kind, "is a device, but no bridge", "choose another name in hypervisor_bridge")
        return
    ports = [device["ifname"] for device in devices if device.get("master") == name]
    uplinks = [port for port in ports if not port.startswith(OF_VMS)]
    if not uplinks:
        yield failure(
            what,
            ", ".join(ports),
            "has no uplink: VMs on it reach nobody",
            "run the playbook site; `networkctl status` tells what became of the uplink",
        )
    if "UP" not in there.get("flags", ()):
        yield failure(what, "", "is not up", "`networkctl status` tells why; run the playbook site")
    if not any(entry.get("scope") == "global" for entry in there.get("addr_info", ())):
        yield warning(
            what,
            "",
            "has no address: VMs and this node do not reach each other over it",
            "that is right where the node has another device in the VMs' network; else see hypervisor_uplink",
        )
    yield ok(what, ", ".join(uplinks))


def packet_filter(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    if (machine.read(FILTER) or "").strip() == "1":
        yield warning(
            FILTER,
            "1",
            "what VMs send over the bridge goes through this node's packet filter, and may be dropped",
            "set net.bridge.bridge-nf-call-iptables=0, or accept forwarded packets (`iptables -P FORWARD ACCEPT`)",
        )
    yield ok("packet filter", "is not asked about VMs' packets")


def vlan(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    if machine.there(VLAN):
        yield ok("802.1Q", "VLAN devices can be made")
    else:
        yield skipped("802.1Q", "the module 8021q is not loaded", "only networks with VLANs need it")


CHECKS = (
    Check("network.uplink", "whether the bridge can be put before the uplink", uplink, (NODE,), running=False),
    Check("network.bridge", "the bridge, its uplink, its address", bridge, (NODE,)),
    Check("network.packet_filter", "whether VMs' packets go through the node's packet filter", packet_filter, (NODE,)),
    Check("network.vlan", "802.1Q, for information", vlan, (NODE,)),
)
