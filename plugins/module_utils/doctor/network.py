# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridge and uplink."""

from __future__ import annotations

import os
from typing import Iterator

from ..model.errors import CommandFailed
from ..net.linux_bridge import LinuxBridge
from .check import NODE, Check, Finding, Wanted, failure, first_line, ok, skipped, warning
from .machine import Machine

DEVICES = "/sys/class/net"
IFF_UP = 1
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
    what, place = f"bridge {name}", os.path.join(DEVICES, name)
    if not machine.there(place):
        cure = "name its uplink in hypervisor_uplink, or let the site's network make it"
        yield failure(what, "", "there is no such device", cure)
        return
    if not machine.there(os.path.join(place, "bridge")):
        yield failure(what, "", "is a device, but no bridge", "choose another name in hypervisor_bridge")
        return
    ports = machine.entries(os.path.join(place, "brif"))
    uplinks = [port for port in ports if not port.startswith(OF_VMS)]
    cure = "run the playbook site; `networkctl status` tells what became of the uplink"
    if not uplinks:
        yield failure(what, ", ".join(ports), "has no uplink: VMs on it have no network", cure)
    if not int((machine.read(os.path.join(place, "flags")) or "0").strip(), 16) & IFF_UP:
        yield failure(what, "", "is not up", cure)
    if not machine.has_address(name):
        yield warning(
            what,
            "",
            "has no address: VMs and this node do not reach each other over it",
            "that is right where the node has another device in the VMs' network; else see hypervisor_uplink",
        )
    yield ok(what, ", ".join(uplinks))


def packet_filter(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    if (machine.read(FILTER) or "").strip() != "1" or not machine.program("iptables"):
        yield ok("packet filter", "is not asked about VMs' packets")
        return
    try:
        rules = machine.said("iptables", "-S", "FORWARD").splitlines()
    except CommandFailed as error:
        yield skipped("packet filter", f"can't be read: {first_line(error)}", "run `wnodes doctor` on the node itself")
        return
    refusing = [rule for rule in rules if rule.endswith(("DROP", "REJECT")) or " REJECT " in rule]
    if refusing:
        yield warning(
            "packet filter",
            "; ".join(refusing[:3]),
            "what VMs send over the bridge goes through it, and may be dropped",
            f"set {FILTER[10:].replace('/', '.')}=0, or accept what is forwarded over the bridge",
        )


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
