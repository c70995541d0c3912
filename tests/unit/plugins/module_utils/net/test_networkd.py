# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of systemd-networkd: golden texts, and nothing lost on the way there and back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wnodes.net.networkd import HEADER, names, parse, render
from wnodes.net.plan import Addressing, Bridge, Route

BRIDGE = Bridge(
    "br.default",
    "eth0",
    "52:54:00:00:00:01",
    Addressing(
        ("192.0.2.10/24", "2001:db8::10/64"),
        (Route("0.0.0.0/0", "192.0.2.1", 100), Route("198.51.100.0/24", "203.0.113.1", onlink=True)),
        ("192.0.2.53",),
        ("example.org", "example.net"),
    ),
)


def test_golden() -> None:
    assert render(BRIDGE) == {
        "05-wnodes-br.default.netdev": HEADER
        + """
[NetDev]
Name=br.default
Kind=bridge
MACAddress=52:54:00:00:00:01

[Bridge]
STP=no
""",
        "05-wnodes-br.default.network": HEADER
        + """
[Match]
Name=br.default

[Network]
Address=192.0.2.10/24
Address=2001:db8::10/64
DNS=192.0.2.53
Domains=example.org example.net

[Route]
Destination=0.0.0.0/0
Gateway=192.0.2.1
Metric=100

[Route]
Destination=198.51.100.0/24
Gateway=203.0.113.1
GatewayOnLink=yes
""",
        "05-wnodes-br.default-uplink.network": HEADER
        + """
[Match]
Name=eth0

[Network]
Bridge=br.default
LinkLocalAddressing=no
IPv6AcceptRA=no
""",
    }


addresses = st.ip_addresses().map(str)
networks = st.builds(lambda address, bits: f"{address}/{bits}", addresses, st.integers(0, 32))
routes = st.builds(Route, networks, st.just("") | addresses, st.integers(0, 2**32 - 1), st.booleans())
words = st.text("abcdefghijklmnopqrstuvwxyz0123456789.-", min_size=1, max_size=15)


@given(
    st.builds(
        Bridge,
        words,
        words,
        st.just("52:54:00:00:00:01"),
        st.builds(
            Addressing,
            st.lists(networks, min_size=1).map(tuple),
            st.lists(routes).map(tuple),
            st.lists(addresses).map(tuple),
            st.lists(words).map(tuple),
        ),
    )
)
def test_what_is_written_can_be_read_back(bridge: Bridge) -> None:
    assert parse(bridge.name, render(bridge)) == bridge


def test_what_is_missing_stays_empty() -> None:
    texts = render(BRIDGE)
    device, network, uplink = names(BRIDGE.name)
    assert parse(BRIDGE.name, {}) == Bridge(BRIDGE.name, "", "", Addressing())
    assert parse(BRIDGE.name, {device: texts[device]}).mac == BRIDGE.mac
    assert parse(BRIDGE.name, {network: texts[network]}).addressing == BRIDGE.addressing
    assert parse(BRIDGE.name, {uplink: texts[uplink]}).uplink == BRIDGE.uplink


def test_texts_of_others_are_no_bridge() -> None:
    broken = dict.fromkeys(names(BRIDGE.name), "no = section\n[Broken\n[[x]]\ny\n[Route]\nGateway\n")
    assert parse(BRIDGE.name, broken).addressing.addresses == ()
