# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seam of the directory: what the site shares, behind the nameserver."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

from ..model.image import Release, Rollout, TagEntry
from ..model.lease import Lease, NetworkSettings


@dataclass(frozen=True)
class HostName:
    """One leasable host name with its MAC and address.

    :param name: host name
    :param mac: MAC address of the VM's network card
    :param address: its address (IPv4)
    """

    name: str
    mac: str
    address: str


@dataclass(frozen=True)
class HostNames:
    """The host names of one network."""

    network: NetworkSettings
    names: Tuple[HostName, ...]


@dataclass(frozen=True)
class Heartbeat:
    """What a service says of itself.

    :param role: ``bait`` or ``hypervisor``
    :param host: node name
    :param at: seconds since the epoch, set by the nameserver
    :param status: plain data for people and dashboards: ``{"ok", "problems", "jobs" or "vms", …}``
    """

    role: str
    host: str
    at: float = 0.0
    status: Dict[str, Any] = field(default_factory=dict)


class Directory(ABC):
    """Leases, tags, configuration, heartbeats. Every call is atomic; DirectoryError means nothing was changed."""

    @abstractmethod
    def lease(self, holder: str, owner: str, ttl_s: float, name: str = "") -> Lease:
        """Lease a free host name to ``holder``, or renew and return the one it has.

        :param name: which one is liked best
        :raises DirectoryError: none is free
        """

    @abstractmethod
    def renew(self, owner: str, holders: Tuple[str, ...], ttl_s: float) -> Tuple[Lease, ...]:
        """Renew what ``owner`` holds for ``holders``; return what was renewed (what is missing is lost)."""

    @abstractmethod
    def release(self, holder: str, epoch: int) -> bool:
        """Give a lease back; False where it was not held in this epoch (any more)."""

    @abstractmethod
    def leases(self) -> Tuple[Lease, ...]:
        """Return all leases that have not run out."""

    @abstractmethod
    def set_host_names(self, pool: HostNames) -> None:
        """Replace the leasable names; leases of names no longer listed run out by themselves."""

    @abstractmethod
    def set_tags(self, tags: Tuple[str, ...], release: Release) -> Tuple[TagEntry, ...]:
        """Point all ``tags`` to ``release`` at once, for every hypervisor; what was pointed to goes to the history.

        :raises StateError: a tag points to a newer version, which no hypervisor would go back from
        """

    @abstractmethod
    def roll_out(self, tag: str, rollout: Optional[Rollout]) -> TagEntry:
        """Let some hypervisors use another release of ``tag`` already; None: all use the same (again).

        :raises NotFoundError: there is no such tag
        """

    @abstractmethod
    def history(self, tag: str) -> Tuple[TagEntry, ...]:
        """Return what ``tag`` pointed to and since when, newest first; it outlives the tag."""

    @abstractmethod
    def tag(self, tag: str) -> TagEntry:
        """Return the entry; NotFoundError where there is none."""

    @abstractmethod
    def tags(self) -> Tuple[TagEntry, ...]:
        """Return all tags, by name."""

    @abstractmethod
    def remove_tag(self, tag: str) -> bool:
        """Retire a tag; False where there was none. VMs of its image go on, new ones are not made."""

    @abstractmethod
    def set_config(self, scope: str, values: Dict[str, Any]) -> None:
        """Replace the central configuration of ``scope`` (``site``, ``bait``, ``hypervisor``, ``bait/<host>`` …)."""

    @abstractmethod
    def config(self, scope: str) -> Dict[str, Any]:
        """Return the central configuration of ``scope``; empty where none was set."""

    @abstractmethod
    def beat(self, heartbeat: Heartbeat) -> None:
        """Store the last heartbeat of a role on a host."""

    @abstractmethod
    def heartbeats(self) -> Tuple[Heartbeat, ...]:
        """Return the last heartbeat of each role and host."""

    @abstractmethod
    def forget(self, host: str) -> Tuple[str, ...]:
        """Drop leases, configuration and heartbeats of a host that has left the site; return what there was."""
