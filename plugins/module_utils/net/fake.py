# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A network that only remembers: for tests and the simulator."""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, Iterable, List

from ..model.errors import NetworkError
from .base import Network
from .plan import Addressing, BridgeDifference, Link, find_uplink, missing, plan_bridge, refuse_if_used


class FakeNetwork(Network):
    """Devices in memory.

    :ivar links: name → device, to be read and changed by the test
    :ivar applied: every difference that was applied, in order
    :ivar broken: make the next ``apply`` fail with this reason
    """

    def __init__(self, links: Iterable[Link] = ()) -> None:
        self.links: Dict[str, Link] = {link.name: link for link in links}
        self.applied: List[BridgeDifference] = []
        self.broken = ""

    def bridge_difference(self, name: str, uplink: str, present: bool = True) -> BridgeDifference:
        port = find_uplink(name, uplink, self.links)
        if not present:
            refuse_if_used(name, uplink, self.links)
            bridge = self.links.get(name)
            addressing = bridge.addressing if bridge else port.addressing
            return BridgeDifference(name, uplink, False, addressing, live=(f"{name}: is there",) if bridge else ())
        if port.master == name:
            addressing = self.links[name].addressing
        else:
            addressing = plan_bridge(name, uplink, self.links).addressing
        return BridgeDifference(name, uplink, True, addressing, live=missing(name, uplink, addressing, self.links))

    def apply(self, difference: BridgeDifference) -> None:
        if self.broken:
            reason, self.broken = self.broken, ""
            raise NetworkError(object=f"bridge {difference.bridge}", reason=reason)
        self.applied.append(difference)
        port = self.links[difference.uplink]
        if difference.present:
            self.links[port.name] = replace(port, master=difference.bridge, addressing=Addressing())
            self.links[difference.bridge] = Link(difference.bridge, "bridge", port.mac, "", difference.addressing)
        else:
            self.links.pop(difference.bridge, None)
            self.links[port.name] = replace(port, master="", addressing=difference.addressing)
