# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases: a host name with its MAC and addresses, for a limited time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple


@dataclass(frozen=True)
class NetworkSettings:
    """What a guest needs to use its address.

    :param prefix: length of the network's prefix, e.g. 24
    :param gateway: address of the default gateway; empty: none
    :param dns: addresses of name servers
    :param domain: domain that is searched for short names
    """

    prefix: int
    gateway: str = ""
    dns: Tuple[str, ...] = ()
    domain: str = ""


@dataclass(frozen=True)
class Lease:
    """One leased host name.

    :param name: host name, also the VM's domain name
    :param holder: request id it was leased for; one request holds at most one lease
    :param owner: the hypervisor that renews it
    :param epoch: fencing number; rises with each new holder of the name
    :param expires: seconds since the epoch (UTC)
    """

    name: str
    mac: str
    address: str
    network: NetworkSettings
    holder: str
    owner: str
    epoch: int
    expires: float
