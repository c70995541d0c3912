# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What we want a VM to be: request, overheads, image, lease and host make a domain."""

from __future__ import annotations

import os
import re
import uuid
from dataclasses import dataclass, replace
from typing import Tuple

from ..model.errors import RequestError
from ..model.image import CachedImage
from ..model.lease import Lease
from ..model.resources import Overheads, Resources
from ..model.vm import MAX_LABEL, MAX_LABELS, Mount, VmRequest
from .domain import Boot, Channel, Disk, Domain, Filesystem, Interface, Metadata

AGENT_PORT = "org.qemu.guest_agent.0"
CHANNEL_PORT = "org.wnodes.0"
SCRATCH = "scratch"

#: The overlay and the scratch disk are thrown away with their VM, and no VM outlives its host's crash: nothing is won
#: by flushing them. Not O_DIRECT either: the base is hot in the page cache for all VMs, and tmpfs does not know it.
CACHE = "unsafe"
TB_CACHE_MIB = 128
#: libvirt puts each virtio device behind a port of its own; ten more stay free for hot-plug
FREE_ROOT_PORTS = 10
MAX_CPUS = 255

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_LABEL = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_PATH = re.compile(r"/[^\s\x00-\x1f\x7f]*\Z")
_UUIDS = uuid.uuid5(uuid.NAMESPACE_URL, "https://wnodes.farm/xmlns/domain/1")


@dataclass(frozen=True)
class VmPaths:
    """Where a VM's own files are on the host; ``scratch`` is empty where it has none."""

    overlay: str
    scratch: str
    console: str
    channel: str


@dataclass(frozen=True)
class HostFacts:
    """What the domain has to know of its host.

    :param accel: ``kvm`` or ``qemu``
    :param bridge: the bridge of its network card; empty puts it on QEMU's user network
    :param overheads: memory beyond the request
    """

    accel: str
    bridge: str
    overheads: Overheads


def domain_uuid(request_id: str) -> str:
    """Return the UUID of the domain of a request: always the same, so that starting twice can't make two."""
    return str(uuid.uuid5(_UUIDS, request_id))


def filesystem_tag(index: int) -> str:
    """Return the virtiofs tag of a VM's ``index``-th mount."""
    return f"wnodes{index}"


def check_request(request: VmRequest, mounts_allowed: Tuple[str, ...], memory_mib: int, overheads: Overheads) -> None:
    """Raise RequestError where this host can never make the VM.

    :param mounts_allowed: folders of the host that VMs may see, whole or a part of
    :param memory_mib: the host's memory
    """
    what = f"VM request {request.id}"
    if not _ID.match(request.id):
        raise RequestError(object="request id", value=repr(request.id), reason="must be 1 to 64 of A-Z a-z 0-9 . _ -")
    size = request.resources
    if not 1 <= size.cpus <= MAX_CPUS:
        raise RequestError(object=what, value=f"cpus {size.cpus}", reason=f"must be 1 to {MAX_CPUS}")
    if size.memory_mib < 1 or size.scratch_mib < 0:
        raise RequestError(object=what, value=str(size), reason="memory must be above 0, scratch 0 or more (MiB)")
    charge = overheads.charge(size).memory_mib
    if charge > memory_mib:
        raise RequestError(
            object=what,
            value=f"{size.memory_mib} MiB",
            reason=f"needs {charge} MiB with overheads, this node has {memory_mib}",
            hint="ask for less memory or another node",
        )
    for mount in request.mounts:
        _check_mount(what, mount, mounts_allowed)
    targets = [mount.target for mount in request.mounts]
    if len(set(targets)) != len(targets):
        raise RequestError(object=what, value=", ".join(targets), reason="two mounts have the same target")
    check_labels(request)


def check_labels(request: VmRequest) -> None:
    """Raise RequestError where logs can't carry the labels of ``request``."""
    what, labels = f"VM request {request.id}", request.labels
    if len(labels) > MAX_LABELS:
        raise RequestError(object=what, value=f"{len(labels)} labels", reason=f"must be at most {MAX_LABELS}")
    for key, value in labels.items():
        if not _LABEL.match(key):
            raise RequestError(
                object=what, value=f"label {key[:80]!r}", reason="must be 1 to 32 of a-z 0-9 _, a letter first"
            )
        if len(value) > MAX_LABEL or not value.isprintable():
            raise RequestError(
                object=what, value=f"label {key} {value[:80]!r}", reason=f"must be up to {MAX_LABEL} printable letters"
            )


def _check_mount(what: str, mount: Mount, allowed: Tuple[str, ...]) -> None:
    for path in (mount.source, mount.target):
        if not _PATH.match(path) or os.path.normpath(path) != path or path == "/":
            raise RequestError(
                object=what, value=repr(path), reason="a mount needs absolute, normal paths without white space"
            )
    # resolved, because a symbolic link below an allowed folder may point anywhere
    source = os.path.realpath(mount.source)
    if not any(source == folder or source.startswith(folder.rstrip("/") + "/") for folder in allowed):
        raise RequestError(
            object=what,
            value=mount.source,
            reason="VMs may not see this folder",
            hint=f"mounts_allowed: {', '.join(allowed) or 'none'}",
        )


def make_domain(request: VmRequest, lease: Lease, image: CachedImage, files: VmPaths, facts: HostFacts) -> Domain:
    """Return the domain of a request on this host."""
    filesystems = tuple(
        Filesystem(filesystem_tag(index), os.path.realpath(mount.source)) for index, mount in enumerate(request.mounts)
    )
    metadata = Metadata(
        owner=_printable(request.owner),
        request=request.id,
        image=image.image.digest,
        name=lease.name,
        address=lease.address,
        epoch=lease.epoch,
    )
    bare = make_template(request.id, request.resources, image, files, facts)
    return replace(
        bare,
        name=lease.name,
        interfaces=(Interface(lease.mac, facts.bridge),),
        filesystems=filesystems,
        root_ports=bare.root_ports + 1 + len(filesystems),
        metadata=metadata,
    )


def make_template(
    request_id: str, resources: Resources, image: CachedImage, files: VmPaths, facts: HostFacts
) -> Domain:
    """Return the domain whose memory is saved for others to start from: network card and file systems come later.

    :param request_id: what it is known by, as if it were a request
    """
    guest = facts.overheads.guest(resources)
    kvm = facts.accel == "kvm"
    overlay = Disk(files.overlay, "qcow2", "vda", "root", CACHE, backing=image.chain)
    scratch = (Disk(files.scratch, "raw", "vdb", SCRATCH, CACHE),) if files.scratch else ()
    # disks, virtio-serial, balloon, rng
    occupied = 1 + len(scratch) + 1 + 1 + 1
    return Domain(
        name=request_id,
        uuid=domain_uuid(request_id),
        accel=facts.accel,
        cpu_mode="host-passthrough" if kvm else "maximum",
        vcpus=guest.cpus,
        memory_mib=guest.memory_mib,
        boot=Boot(image.kernel, image.initrd, image.image.cmdline),
        disks=(overlay,) + scratch,
        interfaces=(),
        channels=(Channel(AGENT_PORT), Channel(CHANNEL_PORT, files.channel)),
        filesystems=(),
        console_log=files.console,
        rng="/dev/urandom",
        tb_cache_mib=0 if kvm else TB_CACHE_MIB,
        root_ports=occupied + FREE_ROOT_PORTS,
        metadata=Metadata("", request_id, image.image.digest, "", "", 0),
    )


def _printable(text: str) -> str:
    """Return ``text`` (user input) without what XML can't hold."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]
