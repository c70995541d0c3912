# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM: what is asked for, and what its hypervisor knows of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Dict, Optional, Tuple

from .image import Image
from .lease import Lease
from .resources import Resources
from .states import VmState, check_move

#: how a VM came up: from the memory of a template, or by booting
RESTORE, COLD = "restore", "cold"
#: a request's labels, and letters of each
MAX_LABELS = 16
MAX_LABEL = 128


@dataclass(frozen=True)
class Mount:
    """A folder of the node shown in the guest by virtiofs.

    :param source: path on the node
    :param target: path in the guest
    :param readonly: whether the guest may only read it
    """

    source: str
    target: str
    readonly: bool = False


@dataclass(frozen=True)
class VmRequest:
    """What is asked of a hypervisor.

    :param id: request id; creating twice with one id makes one VM
    :param owner: who it is for; empty: nobody yet, see ``HypervisorApi.use``
    :param tag: image tag
    :param resources: what the payload needs; the hypervisor adds the guest's overhead
    :param mounts: folders of the node the guest gets
    :param groups: Unix groups of the owner, for images that not everybody may use; they may change meanwhile
    :param labels: what its logs and people call it, e.g. ``{"job": "17"}``; opaque, and no part of what is wished:
        requests that differ only in them are equal
    """

    id: str
    owner: str
    tag: str
    resources: Resources
    mounts: Tuple[Mount, ...] = ()
    groups: Tuple[str, ...] = field(default=(), compare=False)
    labels: Dict[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class VmUser:
    """Who gets a VM that was made for nobody yet; the fields are those of :class:`VmRequest`."""

    owner: str
    groups: Tuple[str, ...] = ()
    labels: Dict[str, str] = field(default_factory=dict)


def used_by(request: VmRequest, user: VmUser) -> VmRequest:
    """Return ``request`` as if ``user`` had made it."""
    return replace(request, owner=user.owner, groups=user.groups, labels=user.labels)


@dataclass(frozen=True)
class GuestFile:
    """A file to be written in a guest: text, mode (octal), owner and group by name.

    :param in_place: write into the file that is there, which keeps its mode and any owner but root, or make it: without
        a process in the guest, for what nobody reads yet
    :param encoding: of ``content`` in the guest; ``latin-1`` makes each character a byte, for ``in_place`` only
    """

    path: str
    content: str
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    in_place: bool = False
    encoding: str = "utf-8"


@dataclass(frozen=True)
class GuestSetup:
    """What is to be done inside a VM: files first, then commands (argv), in order. Never stored: may be secret."""

    files: Tuple[GuestFile, ...] = ()
    commands: Tuple[Tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Move:
    """A state and when it was entered (seconds since the epoch)."""

    state: str
    at: float


#: between why a VM is BROKEN and what its console said last
CONSOLE = "\nconsole:\n"


def told_apart(reason: str) -> Tuple[str, str]:
    """Return why a VM broke, and the last lines of its console; a job's reason may end with those, too."""
    why, _between, console = reason.partition(CONSOLE)
    return why, console


@dataclass(frozen=True)
class Vm:
    """A VM as its hypervisor keeps it.

    :param name: the leased host name; empty before the lease
    :param reason: why it is BROKEN, with what the console said last (see :func:`told_apart`)
    :param path: how it comes up, ``restore`` (as a clone of its template) or ``cold``; empty before
    """

    request: VmRequest
    state: VmState
    history: Tuple[Move, ...] = ()
    lease: Optional[Lease] = None
    image: Optional[Image] = None
    uuid: str = ""
    accel: str = ""
    reason: str = ""
    path: str = ""

    @property
    def id(self) -> str:
        return self.request.id

    @property
    def name(self) -> str:
        return self.lease.name if self.lease else ""

    @property
    def address(self) -> str:
        return self.lease.address if self.lease else ""

    def moved(self, state: VmState, at: float, reason: str = "") -> Vm:
        """Return this VM in ``state`` from ``at`` on; raise StateError where the tables forbid it."""
        check_move(self.state, state, f"VM {self.id}")
        return replace(self, state=state, history=self.history + (Move(state.value, at),), reason=reason or self.reason)


@dataclass(frozen=True)
class VmEvent:
    """Something a VM's user may want to know at once. A hint: the truth is read from the hypervisor or the LRMS.

    :param seq: rises by one with each event of a hypervisor
    :param vm: request id
    :param kind: ``state`` (``data["state"]``) or ``guest`` (what a process in the guest said over the channel)
    """

    seq: int
    vm: str
    kind: str
    data: Dict[str, str] = field(default_factory=dict)
