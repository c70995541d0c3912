# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node's guests have in common with it: whom names stand for, time zone, locale. Read anew for each guest."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from typing import List, Tuple

RESOLVERS = ("/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf")
LOCALES = ("/etc/default/locale", "/etc/locale.conf")
#: options that say something of the node's own resolver, or of its network
NOT_FOR_GUESTS = ("trust-ad",)
#: bytes of a file that are read at most
LIMIT = 1 << 20

_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*\Z")
_LOCALE = re.compile(r"^(LANG|LANGUAGE|LC_[A-Z]+)=[\"']?([A-Za-z0-9_.@:-]*)[\"']?\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Resolver:
    """Of a resolv.conf: addresses, domains that are searched, options."""

    servers: Tuple[str, ...] = ()
    search: Tuple[str, ...] = ()
    options: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Surroundings:
    """What a guest is to have as its node has it; all empty: what its image has.

    :param hosts: lines of /etc/hosts that hold for any machine
    :param zone: name of the time zone, e.g. ``Europe/Berlin``
    :param zone_data: its rules (TZif), each character a byte
    :param locale: lines ``LANG=…``, ``LC_…=…``
    """

    resolver: Resolver = Resolver()
    hosts: Tuple[str, ...] = ()
    zone: str = ""
    zone_data: str = ""
    locale: Tuple[str, ...] = ()


#: of a guest that gets nothing of its node
NOWHERE = Surroundings()


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def resolver(text: str) -> Resolver:
    """Return what a resolv.conf says; servers on the machine itself, which no other reaches, are left out."""
    servers: List[str] = []
    search: Tuple[str, ...] = ()
    options: List[str] = []
    for line in text.splitlines():
        key, *values = line.split() or [""]
        if key == "nameserver" and values and not _is_loopback(values[0]):
            servers.append(values[0])
        elif key in ("search", "domain"):
            search = tuple(value for value in values if value != ".")  # the last line holds
        elif key == "options":
            options += [value for value in values if value not in NOT_FOR_GUESTS]
    return Resolver(tuple(servers), search, tuple(options))


def hosts(text: str) -> Tuple[str, ...]:
    """Return the lines of an /etc/hosts that hold for any machine: none of loopback, none without a name."""
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return tuple(" ".join(words) for words in lines if len(words) > 1 and not _is_loopback(words[0]))


def locale(text: str) -> Tuple[str, ...]:
    """Return the settings of a locale.conf, as they are written there but unquoted, ``LANG`` first."""
    return tuple(sorted((f"{key}={value}" for key, value in _LOCALE.findall(text)), key=lambda line: line[4] != "="))


def surroundings(root: str = "/") -> Surroundings:
    """Return what guests of this machine get of it; what can't be read is left out.

    :param root: where the machine's files are
    """
    own = _read(root, "/etc/resolv.conf")
    found = resolver(own)
    if not found.servers:
        # a resolver of its own; what it asks in turn stands elsewhere
        others = (resolver(_read(root, path)) for path in RESOLVERS)
        found = next((other for other in others if other.servers), found)
    zone, data = _zone(root)
    spoken = next((text for text in (_read(root, path) for path in LOCALES) if text), "")
    return Surroundings(found, hosts(_read(root, "/etc/hosts")), zone, data, locale(spoken))


def _zone(root: str) -> Tuple[str, str]:
    """Return name and rules of the time zone; both empty where one is missing."""
    try:
        target = os.readlink(_below(root, "/etc/localtime"))
    except OSError:
        target = ""
    name = target.partition("zoneinfo/")[2] or _read(root, "/etc/timezone").strip()
    # a link below another root leads nowhere
    data = _read(root, f"/usr/share/zoneinfo/{name}" if target and root != "/" else "/etc/localtime", "latin-1")
    return (name, data) if _ZONE.match(name) and data.startswith("TZif") else ("", "")


def _below(root: str, path: str) -> str:
    return os.path.join(root, path.lstrip("/"))


def _read(root: str, path: str, encoding: str = "utf-8") -> str:
    try:
        with open(_below(root, path), encoding=encoding, errors="replace", newline="") as file:
            return file.read(LIMIT)
    except OSError:
        return ""
