# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bridge looks like as files of systemd-networkd, and back from them."""

from __future__ import annotations

from typing import Dict, Iterable, Iterator, List, Mapping, Tuple

from .plan import Addressing, Bridge, Route

#: ours sort before what a site usually has: of several files that match a device, networkd takes the first
PREFIX = "05-wnodes-"
HEADER = (
    "# Written by the module wnodes.farm.bridge. Removing the bridge brings the uplink's own file back into force.\n"
)

Lines = Iterable[Tuple[str, str]]


def names(bridge: str) -> Tuple[str, str, str]:
    """Return the file names of the device, of its network and of its uplink's."""
    return f"{PREFIX}{bridge}.netdev", f"{PREFIX}{bridge}.network", f"{PREFIX}{bridge}-uplink.network"


def render(bridge: Bridge) -> Dict[str, str]:
    """Return file name → text."""
    device, network, uplink = names(bridge.name)
    wanted = bridge.addressing
    lines: List[Tuple[str, str]] = [("Address", address) for address in wanted.addresses]
    lines += [("DNS", server) for server in wanted.dns]
    lines += [("Domains", " ".join(wanted.domains))] if wanted.domains else []
    return {
        device: _file(
            # The uplink's MAC: neighbours, switches and address reservations notice nothing.
            _section("NetDev", [("Name", bridge.name), ("Kind", "bridge"), ("MACAddress", bridge.mac)]),
            # One uplink and VMs that can't bridge: no loop is possible, and a port must forward at once.
            _section("Bridge", [("STP", "no")]),
        ),
        network: _file(
            _section("Match", [("Name", bridge.name)]),
            _section("Network", lines),
            *(_section("Route", _route(route)) for route in wanted.routes),
        ),
        uplink: _file(
            _section("Match", [("Name", bridge.uplink)]),
            _section("Network", [("Bridge", bridge.name), ("LinkLocalAddressing", "no"), ("IPv6AcceptRA", "no")]),
        ),
    }


def parse(bridge: str, texts: Mapping[str, str]) -> Bridge:
    """Return what ``texts`` (file name → text) say of the bridge; a field whose file is missing stays empty."""
    device, network, uplink = (list(_sections(texts.get(name, ""))) for name in names(bridge))
    lines = [line for title, section in network if title == "Network" for line in section]
    addressing = Addressing(
        tuple(value for key, value in lines if key == "Address"),
        tuple(_parse_route(dict(route)) for title, route in network if title == "Route"),
        tuple(value for key, value in lines if key == "DNS"),
        tuple(word for key, value in lines if key == "Domains" for word in value.split()),
    )
    return Bridge(bridge, _first(uplink, "Match", "Name"), _first(device, "NetDev", "MACAddress"), addressing)


def _route(route: Route) -> Lines:
    yield "Destination", route.destination
    if route.gateway:
        yield "Gateway", route.gateway
    if route.metric:
        yield "Metric", str(route.metric)
    if route.onlink:
        yield "GatewayOnLink", "yes"


def _parse_route(lines: Dict[str, str]) -> Route:
    return Route(
        lines.get("Destination", ""), lines.get("Gateway", ""), int(lines.get("Metric", "0")), "GatewayOnLink" in lines
    )


def _section(title: str, lines: Lines) -> str:
    return f"[{title}]\n" + "".join(f"{key}={value}\n" for key, value in lines)


def _file(*sections: str) -> str:
    return HEADER + "\n" + "\n".join(sections)


def _sections(text: str) -> Iterator[Tuple[str, List[Tuple[str, str]]]]:
    title, lines = "", []  # type: Tuple[str, List[Tuple[str, str]]]
    for line in text.splitlines():
        if line.startswith("["):
            if title:
                yield title, lines
            title, lines = line.strip("[] \t"), []
        elif "=" in line and not line.startswith("#"):
            key, _equals, value = line.partition("=")
            lines.append((key.strip(), value.strip()))
    if title:
        yield title, lines


def _first(sections: List[Tuple[str, List[Tuple[str, str]]]], title: str, key: str) -> str:
    for name, lines in sections:
        if name == title:
            return dict(lines).get(key, "")
    return ""
