# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seam to the machine that runs domains: what the hypervisor needs of libvirt, in our nouns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Callable, Dict, Optional, Tuple, Union

from .domain import Domain, Filesystem, Interface, Metadata


@dataclass(frozen=True)
class FoundDomain:
    """A domain that exists on the host.

    :param active: whether it runs
    :param metadata: what we wrote into it; None for a domain that is not ours
    :param stalled: why QEMU has stopped its guest: a disk of the host could not be read or written; empty: it did not
    """

    uuid: str
    name: str
    active: bool
    metadata: Optional[Metadata]
    stalled: str = ""


@dataclass(frozen=True)
class HostEvent:
    """Something that happened to a domain: a hint to look.

    :param kind: ``agent`` (the guest agent has come up), ``stopped`` (the domain is over, or its guest stands still)
        or ``connected`` (the host answers again; anything may have happened, ``uuid`` is empty)
    """

    kind: str
    uuid: str


@dataclass(frozen=True)
class Versions:
    """What memory that was saved on this host can be restored on.

    :param qemu: e.g. ``7.2.22``
    :param libvirt: e.g. ``9.0.0``
    :param cpu: vendor, model and a digest of the features of the host's processor
    """

    qemu: str
    libvirt: str
    cpu: str


HostListener = Callable[[HostEvent], None]


class VmHost(ABC):
    """Domains of one host. Every call ends within its deadline.

    All raise UnavailableError where the host itself does not answer (nothing is known then),
    VirtError where it answers but refuses.
    """

    @abstractmethod
    def ping(self) -> None:
        """Return when the host answers."""

    @abstractmethod
    def start(self, domain: Domain) -> None:
        """Start a transient domain; one of this UUID that is already there is left alone."""

    @abstractmethod
    def find(self, uuid: str) -> Optional[FoundDomain]:
        """Return the domain, or None where the host says that there is none."""

    @abstractmethod
    def list(self) -> Tuple[FoundDomain, ...]:
        """Return all domains, foreign ones too."""

    @abstractmethod
    def destroy(self, uuid: str) -> bool:
        """End a domain of ours at once, without asking its guest; False where there was none."""

    @abstractmethod
    def versions(self) -> Versions:
        """Return what this host is made of."""

    @abstractmethod
    def cpu_seconds(self, uuid: str) -> float:
        """Return the processor time that a domain has cost so far.

        :raises NotFoundError: there is none
        """

    @abstractmethod
    def save(self, uuid: str, path: str) -> None:
        """Write a domain's memory to the file ``path`` and end it; one that is gone must have been saved there.

        :raises ImageError: it is gone, and ``path`` is not a whole save file
        """

    @abstractmethod
    def restore(self, path: str, domain: Domain) -> None:
        """Start ``domain`` from memory saved of one of the same shape, without network cards and file systems.

        One of this UUID that is already there is left alone.

        :raises ImageError: the file is no save file of such a domain
        """

    @abstractmethod
    def attach(self, uuid: str, device: Union[Interface, Filesystem]) -> None:
        """Plug a device into a running domain; one of the same MAC or tag that is there already is left alone."""

    @abstractmethod
    def agent(self, uuid: str, command: str, arguments: Dict[str, Any], timeout_s: float) -> Any:
        """Return what the guest agent answers (the value of ``return``).

        :raises VirtError: the agent is not there, did not answer within ``timeout_s`` or refused
        """

    @abstractmethod
    def subscribe(self, listener: HostListener) -> None:
        """Tell ``listener`` of events, from a thread of the host's; it must return at once."""

    @abstractmethod
    def close(self) -> None:
        """Let the host go; domains stay as they are."""
