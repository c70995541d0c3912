# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node's network shall be and what it is, as pure data, and the difference of the two."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Mapping, Optional, Tuple

from ..model.errors import NetworkError, StateError

#: longest name the kernel takes for a device (IFNAMSIZ less the closing zero)
NAME_MAX = 15


@dataclass(frozen=True)
class Route:
    """One static route.

    :param destination: network as ``address/prefix``; the default route is ``0.0.0.0/0`` or ``::/0``
    :param gateway: address of the next hop, empty where the destination is on the link
    :param metric: priority, 0 for the kernel's default
    :param onlink: the gateway is on the link although no address of ours says so
    """

    destination: str
    gateway: str = ""
    metric: int = 0
    onlink: bool = False


@dataclass(frozen=True)
class Addressing:
    """What a device needs to speak IP: addresses as ``address/prefix``, routes, DNS servers, search domains."""

    addresses: Tuple[str, ...] = ()
    routes: Tuple[Route, ...] = ()
    dns: Tuple[str, ...] = ()
    domains: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Bridge:
    """A bridge that stands before an uplink and speaks IP in its place, under its MAC."""

    name: str
    uplink: str
    mac: str
    addressing: Addressing


@dataclass(frozen=True)
class Link:
    """A device as the kernel shows it.

    :param kind: ``bridge``, ``veth``, ``tun``, …; empty for a physical device
    :param master: name of the bridge it is a port of, or empty
    :param addressing: what it speaks IP with; without link-local addresses and kernel routes
    :param leased: whether an address of it comes from DHCP
    """

    name: str
    kind: str = ""
    mac: str = ""
    master: str = ""
    addressing: Addressing = field(default_factory=Addressing)
    leased: bool = False


Links = Mapping[str, Link]


@dataclass(frozen=True)
class BridgeDifference:
    """All that separates what is from what shall be; check mode, diff and apply read the same object.

    :param bridge: name of the bridge
    :param files: path → (text now, text wanted); None where there is no such file
    :param live: what is wrong with the devices themselves, one line each
    """

    bridge: str
    uplink: str
    present: bool
    addressing: Addressing
    files: Mapping[str, Tuple[Optional[str], Optional[str]]] = field(default_factory=dict)
    live: Tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.files or self.live)

    def as_diff(self) -> Dict[str, str]:
        """Return ``{"before", "after"}`` as Ansible shows them with ``--diff``."""
        return {"before": self._side(0), "after": self._side(1)}

    def _side(self, index: int) -> str:
        lines = [f"# {path}\n{pair[index]}" for path, pair in sorted(self.files.items()) if pair[index] is not None]
        if index == 0:
            lines += [f"{line}\n" for line in self.live]
        return "\n".join(lines)


def plan_bridge(name: str, uplink: str, links: Links) -> Bridge:
    """Plan bridge ``name`` before ``uplink``: it takes over the uplink's MAC and addressing.

    :raises NetworkError: the devices there do not allow it
    """
    there = find_uplink(name, uplink, links)
    if there.leased:
        raise NetworkError(
            object=f"uplink {uplink}",
            reason="its address is leased by DHCP, and a server may give the bridge another one",
            hint="give the node a static address first",
        )
    if not there.addressing.addresses:
        raise NetworkError(
            object=f"uplink {uplink}",
            reason="it has no address that the bridge could take over",
            hint="name the device over which the node is reached",
        )
    return Bridge(name, uplink, there.mac, there.addressing)


def find_uplink(name: str, uplink: str, links: Links) -> Link:
    """Return the link ``uplink`` if bridge ``name`` may take it.

    :raises NetworkError: no such device, a port of another bridge, or ``name`` is taken by something else
    """
    if not 0 < len(name) <= NAME_MAX or "/" in name or name.split() != [name]:
        raise NetworkError(
            object="bridge", value=name, reason=f"not a device name: 1 to {NAME_MAX} characters, no blank, no slash"
        )
    if uplink not in links:
        known = ", ".join(sorted(set(links) - {"lo"}))
        raise NetworkError(object=f"uplink {uplink}", reason="no such device", hint=f"this node has {known}")
    there = links[uplink]
    if uplink in (name, "lo") or there.kind == "bridge":
        raise NetworkError(object=f"uplink {uplink}", reason="not a device that can be a port of a bridge")
    if there.master not in ("", name):
        raise NetworkError(object=f"uplink {uplink}", reason=f"already a port of {there.master}")
    if name in links and links[name].kind != "bridge":
        raise NetworkError(
            object=f"bridge {name}", value=links[name].kind, reason="there is a device of this name which is no bridge"
        )
    return there


def missing(name: str, uplink: str, wanted: Addressing, links: Links) -> Tuple[str, ...]:
    """Say what the live devices lack of a bridge; empty if all is as wanted."""
    bridge = links.get(name)
    if bridge is None:
        return (f"{name}: no such device",)
    lacks = lacking(name, wanted, links)
    if uplink not in links or links[uplink].master != name:
        lacks = (f"{uplink}: not a port of {name}", *lacks)
    return lacks


def lacking(device: str, wanted: Addressing, links: Links) -> Tuple[str, ...]:
    """Say what ``device`` lacks of the wanted addresses and routes."""
    there = links[device].addressing if device in links else Addressing()
    lacks = [f"{device}: no address {address}" for address in wanted.addresses if address not in there.addresses]
    reached = {(route.destination, route.gateway) for route in there.routes}
    lacks += [
        f"{device}: no route to {route.destination}"
        for route in wanted.routes
        if (route.destination, route.gateway) not in reached
    ]
    return tuple(lacks)


def refuse_if_used(name: str, uplink: str, links: Links) -> None:
    """Make sure that nothing but the uplink is a port of the bridge.

    :raises StateError: VMs are still on it
    """
    ports = sorted(link.name for link in links.values() if link.master == name and link.name != uplink)
    if ports:
        raise StateError(
            object=f"bridge {name}",
            value=", ".join(ports),
            reason="other devices are ports of it",
            hint="drain the node's VMs first",
        )
