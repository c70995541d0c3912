# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A wrong configuration is told by its key, its value and what is allowed."""

from __future__ import annotations

import pytest

from wnodes.hypervisor.config import HypervisorConfig
from wnodes.model.codec import decode
from wnodes.model.errors import ConfigError

GOOD = {"host": "hv1", "nameserver": {"url": "https://head"}}


def test_two_keys_are_enough() -> None:
    config = decode(HypervisorConfig, GOOD, "/etc/wnodes/hypervisor.yml")
    assert (config.bridge, config.accel, config.max_starting) == ("br.default", "auto", 2)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("host", ""),
        ("accel", "xen"),
        ("bridge", "a b"),
        ("bridge", "a-name-that-is-too-long"),
        ("state_dir", "var"),
        ("run_dir", "/run/../x"),
        ("mounts_allowed", ["home"]),
        ("max_starting", 0),
        ("boot_timeout_s", -1.0),
        ("orphan_delay_s", -1.0),
        ("lease_ttl_s", 10.0),
        ("overheads", {"guest_mib": -1}),
        ("nameserver", {"url": "head"}),
        ("syslog_listen", "br.default"),
        ("syslog_listen", "10.77.0.0/24"),
        ("syslog_port", 514),
        ("syslog_port", 65536),
        ("syslog_rate", 0.5),
        ("syslog_burst", 0),
        ("metrics_listen", "9717"),
        ("max_starting", "two"),
        ("template_cache_mib", -1),
        ("template_flavours", [{"tag": "worker", "cpus": 1, "memory_mib": 512}]),
        ("template_flavours", [{"tag": "worker_debian12_x86_64", "cpus": 0, "memory_mib": 512}]),
        ("template_flavours", [{"tag": "worker_debian12_x86_64", "cpus": 1}]),
        ("colour", "red"),
    ],
)
def test_each_wrong_key_is_named(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(HypervisorConfig, {**GOOD, key: value}, "/etc/wnodes/hypervisor.yml")
    assert key in caught.value.object
    assert caught.value.reason


@pytest.mark.parametrize("address", ["", "10.77.0.1", "fd00::1", "::"])
def test_syslog_is_received_on_an_address_or_not_at_all(address: str) -> None:
    config = decode(HypervisorConfig, {**GOOD, "syslog_listen": address}, "/etc/wnodes/hypervisor.yml")
    assert (config.syslog_listen, config.syslog_port) == (address, 5514)


def test_missing_keys_are_named() -> None:
    with pytest.raises(ConfigError, match="nameserver: is missing"):
        decode(HypervisorConfig, {"host": "hv1"}, "/etc/wnodes/hypervisor.yml")
