# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool of a configuration, and what is wrong with one."""

from __future__ import annotations

import pytest

from wnodes.directory.base import HostName
from wnodes.model.errors import ConfigError
from wnodes.model.lease import NetworkSettings
from wnodes.nameserver.config import HostNameRange, HostNamesConfig, NameserverAccess, NameserverConfig

NETWORK = NetworkSettings(24)
RANGE = HostNameRange("vwn-", 100, "10.77.0.254", 3)


def test_a_range_counts_names_addresses_and_macs_up() -> None:
    assert HostNamesConfig(NETWORK, (RANGE,)).pool().names == (
        HostName("vwn-100", "52:54:00:4d:00:fe", "10.77.0.254"),
        HostName("vwn-101", "52:54:00:4d:00:ff", "10.77.0.255"),
        HostName("vwn-102", "52:54:00:4d:01:00", "10.77.1.0"),
    )


def test_single_names_come_first() -> None:
    single = HostName("special", "52:54:00:AA:00:01", "10.0.0.1")
    first = HostNamesConfig(NETWORK, (RANGE,), (single,)).pool().names[0]
    assert first == HostName("special", "52:54:00:aa:00:01", "10.0.0.1")


@pytest.mark.parametrize(
    ("ranges", "names", "said"),
    [
        ((), (), "has no host names"),
        ((RANGE, RANGE), (), r"pool: name \(vwn-100\): is there twice"),
        ((HostNameRange("a", 0, "10.0.0.x", 1),), (), r"pool.ranges: address \('10.0.0.x'\): must be an IPv4 address"),
        ((HostNameRange("a", 0, "10.0.0.1", 0),), (), "must be from 1 to 65536"),
        ((HostNameRange("a", 0, "10.0.0.1", 1, "52:54"),), (), "must be 3 octets"),
        ((), (HostName("a", "no", "10.0.0.1"),), "must be 6 octets"),
        ((), (HostName("a", "52:54:00:00:00:01", "10.0.0.1"), HostName("b", "52:54:00:00:00:01", "10.0.0.2")), "mac"),
    ],
)
def test_what_is_wrong_with_a_pool(ranges: tuple[HostNameRange, ...], names: tuple[HostName, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        HostNamesConfig(NETWORK, ranges, names)


@pytest.mark.parametrize(
    ("key", "value"),
    [("port", 0), ("port", 70000), ("heartbeat_s", 0.0), ("listen", "everywhere"), ("metrics_listen", "head:9716")],
)
def test_what_is_wrong_with_a_configuration(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        NameserverConfig(HostNamesConfig(NETWORK, (RANGE,)), **{key: value})


def test_where_a_nameserver_is() -> None:
    assert NameserverAccess("https://10.0.0.1").place() == ("10.0.0.1", 8443)
    assert NameserverAccess("https://head.example.org:9000/").place() == ("head.example.org", 9000)


@pytest.mark.parametrize("url", ["", "10.0.0.1", "http://head", "https://", "https://head:x", "https://head/a?b=c"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match="must be https://host"):
        NameserverAccess(url)
