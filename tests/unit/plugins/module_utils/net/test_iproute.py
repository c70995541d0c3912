# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Outputs of ip as seen on nodes, and what we make of them."""

from __future__ import annotations

import json

import pytest

from wnodes.model.errors import NetworkError
from wnodes.net.iproute import parse
from wnodes.net.plan import Addressing, Link, Route


def address(local: str, prefix: int, **more: object) -> dict[str, object]:
    family = "inet6" if ":" in local else "inet"
    return {"family": family, "local": local, "prefixlen": prefix, "scope": "global", **more}


# Shortened from `ip -json -details address show` (iproute2 6.1).
DEVICES = [
    {"ifname": "lo", "address": "00:00:00:00:00:00", "addr_info": [address("127.0.0.1", 8, scope="host")]},
    {
        "ifname": "br.default",
        "address": "52:54:00:00:00:01",
        "linkinfo": {"info_kind": "bridge", "info_data": {"stp_state": 0}},
        "addr_info": [
            address("192.0.2.10", 24),
            address("fe80::1", 64, scope="link"),
            address("2001:db8::10", 64),
            address("2001:db8::abcd", 64, dynamic=True, mngtmpaddr=True),
        ],
    },
    {
        "ifname": "host0",
        "address": "52:54:00:00:00:0A",
        "master": "br.default",
        "linkinfo": {"info_kind": "veth", "info_slave_kind": "bridge"},
        "addr_info": [],
    },
    {"ifname": "eth1", "address": "52:54:00:00:00:0b", "addr_info": [address("198.51.100.9", 24, dynamic=True)]},
    {},
]
ROUTES4 = [
    {"dst": "default", "gateway": "192.0.2.1", "dev": "br.default", "protocol": "static", "flags": []},
    {"dst": "192.0.2.0/24", "dev": "br.default", "protocol": "kernel", "scope": "link", "flags": []},
    {"dst": "203.0.113.7", "gateway": "192.0.2.2", "dev": "br.default", "metric": 5, "flags": ["onlink"]},
    {"dst": "default", "gateway": "198.51.100.1", "dev": "eth1", "protocol": "dhcp", "flags": []},
    {"dst": "10.0.0.0/8", "protocol": "static", "nexthops": [{"dev": "eth1"}], "flags": []},
]
ROUTES6 = [{"dst": "default", "gateway": "fe80::2", "dev": "br.default", "metric": 1024, "flags": []}]


def test_links() -> None:
    links = parse(json.dumps(DEVICES), json.dumps(ROUTES4), json.dumps(ROUTES6))
    assert links == {
        "lo": Link("lo", mac="00:00:00:00:00:00"),
        "br.default": Link(
            "br.default",
            "bridge",
            "52:54:00:00:00:01",
            "",
            Addressing(
                ("192.0.2.10/24", "2001:db8::10/64"),
                (
                    Route("0.0.0.0/0", "192.0.2.1"),
                    Route("203.0.113.7/32", "192.0.2.2", 5, onlink=True),
                    Route("::/0", "fe80::2", 1024),
                ),
            ),
        ),
        "host0": Link("host0", "veth", "52:54:00:00:00:0a", "br.default"),
        "eth1": Link("eth1", "", "52:54:00:00:00:0b", leased=True),
    }


def test_no_routes_at_all() -> None:
    assert parse("[]", "", "") == {}


@pytest.mark.parametrize("said", ["Object is unknown", "[1]", '[{"no": "name"}]', "{"])
def test_what_can_not_be_understood_is_an_error(said: str) -> None:
    with pytest.raises(NetworkError, match="can't be understood"):
        parse(said, "[]", "[]")
