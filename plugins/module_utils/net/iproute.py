# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel says of its devices: the output of ``ip -json`` as :class:`Link`."""

from __future__ import annotations

import json
from ipaddress import ip_interface
from typing import Any, Dict, List, Tuple

from ..model.errors import NetworkError
from .plan import Addressing, Link, Route

#: routes that come and go by themselves: the kernel's own, router advertisements, DHCP
DYNAMIC = frozenset(("kernel", "ra", "redirect", "dhcp"))
ADDRESSES = ("ip", "-json", "-details", "address", "show")
ROUTES = (("ip", "-json", "-4", "route", "show"), ("ip", "-json", "-6", "route", "show"))


def parse(addresses: str, routes4: str, routes6: str) -> Dict[str, Link]:
    """Build the links from the outputs of ``ADDRESSES`` and the two ``ROUTES``.

    :raises NetworkError: that is no output of ``ip -json``
    """
    try:
        devices = json.loads(addresses or "[]")
        routed: Dict[str, List[Route]] = {}
        for text, everywhere in ((routes4, "0.0.0.0/0"), (routes6, "::/0")):
            for route in json.loads(text or "[]"):
                if route.get("protocol") not in DYNAMIC and "dev" in route:
                    routed.setdefault(route["dev"], []).append(_route(route, everywhere))
        return {
            device["ifname"]: _link(device, tuple(routed.get(device["ifname"], ()))) for device in devices if device
        }
    except (ValueError, KeyError, TypeError) as error:
        raise NetworkError(object="ip -json", reason=f"its output can't be understood: {error!r}") from error


def _route(route: Dict[str, Any], everywhere: str) -> Route:
    destination = everywhere if route["dst"] == "default" else str(ip_interface(route["dst"]))
    return Route(
        destination, route.get("gateway", ""), int(route.get("metric", 0)), "onlink" in (route.get("flags") or ())
    )


def _link(device: Dict[str, Any], routes: Tuple[Route, ...]) -> Link:
    addresses, leased = [], False
    for entry in device.get("addr_info", ()):
        if not entry or entry.get("scope") != "global":
            continue
        if entry.get("dynamic"):
            # An IPv6 address from router advertisements comes back by itself on the bridge; a DHCP lease may not.
            leased = leased or entry["family"] == "inet"
            continue
        addresses.append(f"{entry['local']}/{entry['prefixlen']}")
    return Link(
        name=device["ifname"],
        kind=device.get("linkinfo", {}).get("info_kind", ""),
        mac=device.get("address", "").lower(),
        master=device.get("master", ""),
        addressing=Addressing(tuple(addresses), routes),
        leased=leased,
    )
