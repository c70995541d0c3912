# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration of the nameserver, and of those who call it."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from typing import Tuple
from urllib.parse import urlsplit

from ..directory.base import HostName, HostNames
from ..model.endpoint import endpoint
from ..model.errors import ConfigError
from ..model.lease import NetworkSettings

PORT = 8443
SOCKET = "/run/wnodes/nameserver.sock"


@dataclass(frozen=True)
class NameserverAccess:
    """How a service reaches the nameserver.

    :param url: ``https://host`` or ``https://host:port``
    :param pki_dir: where ca.crt, <role>.crt and <role>.key are
    :param timeout_s: longest wait for an answer, in seconds
    """

    url: str
    pki_dir: str = "/etc/wnodes/pki"
    timeout_s: float = 5.0

    def __post_init__(self) -> None:
        self.place()

    def place(self) -> Tuple[str, int]:
        """Return host and port."""
        parts = urlsplit(self.url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or parts.scheme != "https" or parts.path.strip("/") or parts.query or parts.username:
            raise ConfigError(
                object="nameserver", value=repr(self.url), reason="must be https://host or https://host:port"
            )
        return host, port or PORT


@dataclass(frozen=True)
class HostNameRange:
    """``count`` host names with addresses in a row: ``<prefix><number>``, counted up from ``first``.

    :param prefix: what the host names begin with
    :param first: the first number
    :param address: the first address (IPv4)
    :param count: how many
    :param mac_prefix: three octets; the last three octets of the address follow
    """

    prefix: str
    first: int
    address: str
    count: int
    mac_prefix: str = "52:54:00"


@dataclass(frozen=True)
class HostNamesConfig:
    """The leasable host names: ranges, single names, or both.

    :param network: what a guest needs to use its address
    :param ranges: host names with addresses in a row
    :param names: single host names
    """

    network: NetworkSettings
    ranges: Tuple[HostNameRange, ...] = ()
    names: Tuple[HostName, ...] = ()

    def __post_init__(self) -> None:
        self.pool()

    def pool(self) -> HostNames:
        """Return the pool; every name, MAC and address in it is there once.

        :raises ConfigError: an address is wrong or something is there twice
        """
        names = [_check(name) for name in self.names]
        for item in self.ranges:
            names.extend(_names(item))
        if not names:
            raise ConfigError(object="pool", reason="has no host names", hint="give `ranges`, `names` or both")
        for key in ("name", "mac", "address"):
            seen = set()
            for name in names:
                value = getattr(name, key)
                if value in seen:
                    raise ConfigError(object=f"pool: {key}", value=value, reason="is there twice")
                seen.add(value)
        return HostNames(self.network, tuple(names))


@dataclass(frozen=True)
class NameserverConfig:
    """``/etc/wnodes/nameserver.yml``.

    :param pool: the host names that VMs may have
    :param listen: address the site's nodes reach us at; all of the machine's by default
    :param port: port there
    :param pki_dir: where ca.crt, nameserver.crt and nameserver.key are
    :param state_dir: where the directory's file is
    :param socket: Unix socket for the command line on this machine
    :param metrics_listen: ``<address>:<port>`` at which Prometheus reads our metrics; empty: nowhere
    :param heartbeat_s: how often baits and hypervisors of this site tell that they are alive, in seconds
    """

    pool: HostNamesConfig
    listen: str = "0.0.0.0"  # noqa: S104 - mutual TLS guards it
    port: int = PORT
    pki_dir: str = "/etc/wnodes/pki"
    state_dir: str = "/var/lib/wnodes/nameserver"
    socket: str = SOCKET
    heartbeat_s: float = 10.0
    metrics_listen: str = ""

    @property
    def directory(self) -> str:
        """The file of the directory."""
        return os.path.join(self.state_dir, "directory.sqlite")

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise ConfigError(object="port", value=str(self.port), reason="must be from 1 to 65535")
        if self.heartbeat_s <= 0:
            raise ConfigError(object="heartbeat_s", value=str(self.heartbeat_s), reason="must be more than 0 (seconds)")
        _ipv4(self.listen, "listen")
        endpoint(self.metrics_listen, "metrics_listen")


def _ipv4(text: str, key: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        raise ConfigError(object=key, value=repr(text), reason="must be an IPv4 address") from None


def _mac(text: str, octets: int, key: str) -> str:
    parts = text.lower().split(":")
    if len(parts) != octets or not all(len(part) == 2 and set(part) <= set("0123456789abcdef") for part in parts):
        raise ConfigError(object=key, value=repr(text), reason=f"must be {octets} octets, for example 52:54:00…")
    return text.lower()


def _check(name: HostName) -> HostName:
    return HostName(name.name, _mac(name.mac, 6, "pool.names: mac"), str(_ipv4(name.address, "pool.names: address")))


def _names(item: HostNameRange) -> Tuple[HostName, ...]:
    start = _ipv4(item.address, "pool.ranges: address")
    mac_prefix = _mac(item.mac_prefix, 3, "pool.ranges: mac_prefix")
    if not 0 < item.count <= 65536:
        raise ConfigError(object="pool.ranges: count", value=str(item.count), reason="must be from 1 to 65536")
    names = []
    for index in range(item.count):
        address = start + index
        mac = ":".join([mac_prefix] + [f"{octet:02x}" for octet in address.packed[1:]])
        names.append(HostName(f"{item.prefix}{item.first + index}", mac, str(address)))
    return tuple(names)
