# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bridge shall be, from what is there."""

from __future__ import annotations

import pytest

from wnodes.model.errors import NetworkError, StateError
from wnodes.net.plan import (
    Addressing,
    BridgeDifference,
    Link,
    Route,
    missing,
    plan_bridge,
    refuse_if_used,
)

SPEAKS = Addressing(("192.0.2.10/24",), (Route("0.0.0.0/0", "192.0.2.1"),))
UPLINK = Link("eth0", "", "52:54:00:00:00:01", "", SPEAKS)
LOOPBACK = Link("lo")


def links(*there: Link) -> dict[str, Link]:
    return {link.name: link for link in (LOOPBACK, *there)}


def test_the_bridge_takes_over_mac_and_addressing() -> None:
    bridge = plan_bridge("br.default", "eth0", links(UPLINK))
    assert (bridge.mac, bridge.addressing) == (UPLINK.mac, SPEAKS)


@pytest.mark.parametrize(
    ("there", "name", "uplink", "said"),
    [
        pytest.param([UPLINK], "br.default", "eth9", "no such device; this node has eth0", id="unknown"),
        pytest.param([UPLINK], "br.default", "lo", "not a device that can be a port", id="loopback"),
        pytest.param([UPLINK], "eth0", "eth0", "not a device that can be a port", id="itself"),
        pytest.param([Link("br0", "bridge")], "br.default", "br0", "not a device that can be a port", id="bridge"),
        pytest.param([Link("eth0", master="br0")], "br.default", "eth0", "already a port of br0", id="other port"),
        pytest.param([UPLINK, Link("br.default", "tun")], "br.default", "eth0", "which is no bridge", id="name taken"),
        pytest.param([UPLINK], "br.much-too-long", "eth0", "1 to 15 characters", id="long"),
        pytest.param([UPLINK], "br/0", "eth0", "no slash", id="slash"),
        pytest.param([UPLINK], "", "eth0", "not a device name", id="empty"),
        pytest.param([UPLINK], "br 0", "eth0", "no blank", id="blank"),
        pytest.param([Link("eth0", leased=True)], "br.default", "eth0", "leased by DHCP", id="dhcp"),
        pytest.param([Link("eth0")], "br.default", "eth0", "no address", id="no address"),
    ],
)
def test_what_can_not_be_says_why(there: list[Link], name: str, uplink: str, said: str) -> None:
    with pytest.raises(NetworkError) as caught:
        plan_bridge(name, uplink, links(*there))
    assert said in str(caught.value)


def test_missing_names_everything_that_is_not_as_wanted() -> None:
    there = links(Link("eth0"), Link("br.default", "bridge"))
    assert missing("br.default", "eth0", SPEAKS, there) == (
        "eth0: not a port of br.default",
        "br.default: no address 192.0.2.10/24",
        "br.default: no route to 0.0.0.0/0",
    )


def test_nothing_is_missing_from_a_complete_bridge_whatever_else_it_has() -> None:
    more = Addressing((*SPEAKS.addresses, "198.51.100.7/32"), (*SPEAKS.routes, Route("198.51.100.0/24", "192.0.2.2")))
    there = links(Link("eth0", master="br.default"), Link("br.default", "bridge", addressing=more))
    assert missing("br.default", "eth0", SPEAKS, there) == ()


def test_a_bridge_in_use_is_not_taken_away() -> None:
    there = links(Link("eth0", master="br.default"), Link("vnet0", "tun", master="br.default"))
    with pytest.raises(StateError) as caught:
        refuse_if_used("br.default", "eth0", there)
    assert caught.value.value == "vnet0"


def test_the_diff_shows_files_and_devices() -> None:
    difference = BridgeDifference(
        "b", "eth0", True, SPEAKS, {"/x": (None, "new\n"), "/y": ("old\n", "y\n")}, ("b: gone",)
    )
    assert difference.changed
    assert difference.as_diff() == {"before": "# /y\nold\n\nb: gone\n", "after": "# /x\nnew\n\n# /y\ny\n"}


def test_no_difference_is_no_change() -> None:
    difference = BridgeDifference("b", "eth0", True, SPEAKS)
    assert not difference.changed
    assert difference.as_diff() == {"before": "", "after": ""}
