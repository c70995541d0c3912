# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a service listens, as configuration files write it."""

from __future__ import annotations

import ipaddress
from typing import Optional, Tuple

from .errors import ConfigError


def endpoint(text: str, key: str) -> Optional[Tuple[str, int]]:
    """Return address and port of ``<IPv4 address>:<port>``; None for an empty text.

    :param key: what the configuration file calls it
    :raises ConfigError: it is something else
    """
    if not text:
        return None
    address, _colon, port = text.rpartition(":")
    try:
        ipaddress.IPv4Address(address)
        number = int(port) if port.isdecimal() else 0
    except ValueError:
        number = 0
    if not 1024 <= number < 65536:
        raise ConfigError(
            object=key,
            value=repr(text),
            reason="must be an IPv4 address and a port from 1024 to 65535, or empty",
            hint="for example 127.0.0.1:9717",
        )
    return address, number


def reachable(text: str, host: str) -> str:
    """Return where others reach what listens at ``text`` on ``host``, as ``<host>:<port>``; empty: nowhere."""
    place = endpoint(text, "listen")
    if place is None:
        return ""
    address, port = place
    return f"{host if address == '0.0.0.0' else address}:{port}"  # noqa: S104 - compared, not bound
