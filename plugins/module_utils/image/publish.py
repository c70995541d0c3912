# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish an inspected image: a folder named by its digest, complete or not there at all, and tags that point to it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass, field, replace
from typing import Dict, List, Optional, Tuple

from ..model.clock import Clock
from ..model.codec import encode
from ..model.errors import ImageError
from ..model.image import Allowed, FileDigest, Manifest, check_tag
from .disk import READABLE, TOOLS, DiskTools, copy, sha256, sync, write_atomically
from .header import check_header
from .manifest import DISK, INITRD, KERNEL, NAME, SIGNATURE, read_release
from .signature import Signer

_INCOMING = ".incoming-"
_PARTITION = re.compile(r"/dev/vda[0-9]*\Z")
_STALE_S = 24 * 3600.0
DAY_S = 86400


@dataclass(frozen=True)
class Target:
    """Where and as what an image is published.

    :param folder: gets ``<digest>/`` and one link per tag
    :param cmdline: without ``root=`` it gets one of ``root_device``
    :param root_device: as the guest names it; empty: to be found, see :meth:`rooted`
    :param valid_days: days after which the image boots nowhere any more; 0: never
    :param signer: None: not signed, which no hypervisor takes
    :param properties: for people
    """

    folder: str
    tags: Tuple[str, ...]
    cmdline: str
    root_device: str = "/dev/vda"
    valid_days: int = 0
    allowed: Allowed = field(default_factory=Allowed)
    properties: Dict[str, str] = field(default_factory=dict)
    signer: Optional[Signer] = None

    def __post_init__(self) -> None:
        for tag in self.tags:
            check_tag(tag)
        if not os.path.isabs(self.folder):
            raise ImageError(object="publish_to", value=self.folder, reason="must be an absolute path")

    def rooted(self, found: str) -> Target:
        """Return this with the root device ``found`` in the image, unless another kind of name is said.

        :raises ImageError: another partition is said, or none can be: the image could not boot
        """
        root = self.root_device or found
        if not root.startswith("/dev/"):
            reason = "has its root file system where no device's name leads to"
            raise ImageError(object="image", value=found, reason=reason, hint="say root_device and cmdline")
        named = next((word[5:] for word in self.cmdline.split() if word.startswith("root=")), "")
        for what, said in (("root_device", self.root_device), ("cmdline: root=", named)):
            if said != found and _PARTITION.match(said) and _PARTITION.match(found):
                hint = f"leave it out, or say {found}"
                raise ImageError(object=what, value=said, reason=f"the root file system is on {found}", hint=hint)
        return replace(self, root_device=root, cmdline=self.cmdline if named else f"{self.cmdline} root={root}".strip())


@dataclass(frozen=True)
class Published:
    """What is now published (in check mode: would be), and whether that is news."""

    changed: bool
    path: str
    manifest: Manifest


def publish(
    disk: str,
    format: str,
    kernel: str,
    initrd: str,
    target: Target,
    *,
    check: bool = False,
    tools: DiskTools = TOOLS,
    clock: Optional[Clock] = None,
) -> Published:
    """Publish ``disk`` with its ``kernel`` and ``initrd`` files; the same content is published once.

    A qcow2 disk is published as it is, a raw one converted. Files become read-only; the folder appears in one rename.
    What is published already is signed anew when what is said of it changes, or when it would expire soon.

    :raises ImageError: refused header, the folder can't be written, or it can't be signed
    """
    check_header(disk, format)
    now = int((clock or Clock()).now())
    try:
        if not check:
            os.makedirs(target.folder, exist_ok=True)
            _sweep(target.folder)
        folder = tempfile.mkdtemp(prefix=_INCOMING, dir=None if check else target.folder)
        try:
            manifest = _fill(folder, disk, format, kernel, initrd, target, tools, now)
            return _settle(folder, manifest, target, check)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise ImageError(object="publish_to", value=target.folder, reason=f"can't be written: {error}") from error


def republish(folder: str, target: Target, *, clock: Optional[Clock] = None) -> Published:
    """State anew what is published in ``folder``, with a version above all that was stated before.

    So an older image comes back (hypervisors take no older version), or gets other tags or a later end.

    :raises ImageError: nothing is published there, or it can't be signed
    """
    folder = os.path.realpath(folder)
    now = int((clock or Clock()).now())
    manifest = replace(
        read_release(folder).claims(),
        version=_version(now, [os.path.join(target.folder, tag) for tag in target.tags] + [folder]),
        created=now,
        expires=_expires(now, target),
        tags=target.tags,
        allowed=target.allowed,
    )
    _state(folder, manifest, target)
    for tag in target.tags:
        _point(os.path.join(target.folder, tag), os.path.basename(folder), False)
    return Published(True, folder, manifest)


def _sweep(folder: str) -> None:
    """Remove what publishers that died left; a day is longer than any of them works."""
    for entry in os.scandir(folder):
        if entry.name.startswith(_INCOMING) and time.time() - entry.stat().st_mtime > _STALE_S:
            shutil.rmtree(entry.path, ignore_errors=True)


def _version(now: int, stated: List[str]) -> int:
    """Return a version that people can read as a time (UTC), above those stated in the folders so far."""
    version = int(time.strftime("%Y%m%d%H%M%S", time.gmtime(now)))
    for folder in stated:
        with contextlib.suppress(ImageError):
            version = max(version, read_release(folder).claims().version + 1)
    return version


def _expires(now: int, target: Target) -> int:
    """Return when a statement of now ends: as the target has it, and no later than its signer."""
    wanted = now + target.valid_days * DAY_S if target.valid_days else 0
    limit = target.signer.until() if target.signer is not None else 0
    return min(wanted or limit, limit or wanted)


def _fill(
    folder: str, disk: str, format: str, kernel: str, initrd: str, target: Target, tools: DiskTools, now: int
) -> Manifest:
    final = os.path.join(folder, DISK)
    if format == "qcow2":
        digest = copy(disk, final)
    else:
        tools.to_qcow2(disk, format, final)
        digest = sha256(final)
    header = check_header(final, "qcow2")
    return Manifest(
        version=_version(now, [os.path.join(target.folder, tag) for tag in target.tags]),
        created=now,
        expires=_expires(now, target),
        tags=target.tags,
        disk=FileDigest(DISK, digest),
        format="qcow2",
        virtual_size=header.virtual_size,
        size=os.path.getsize(final),
        kernel=FileDigest(KERNEL, copy(kernel, os.path.join(folder, KERNEL))),
        initrd=FileDigest(INITRD, copy(initrd, os.path.join(folder, INITRD))),
        root_device=target.root_device,
        cmdline=target.cmdline,
        allowed=target.allowed,
        properties=target.properties,
    )


def _settle(folder: str, manifest: Manifest, target: Target, check: bool) -> Published:
    final = os.path.join(target.folder, manifest.digest)
    changed = not os.path.isdir(final)
    if changed and not check:
        _state(folder, manifest, target)
        for name in (DISK, KERNEL, INITRD):
            os.chmod(os.path.join(folder, name), 0o444)
            sync(os.path.join(folder, name))
        os.chmod(folder, READABLE)
        sync(folder)
        os.rename(folder, final)
        sync(target.folder)
    elif not changed:
        # where a tag points to another image now, this one has to be stated after that
        pointing = not any(_point(os.path.join(target.folder, tag), manifest.digest, True) for tag in target.tags)
        stated = _stated(final, manifest, target) if pointing else None
        if stated is not None:
            manifest = stated
        else:
            changed = True
            if not check:
                _state(final, manifest, target)
    for tag in target.tags:
        changed = _point(os.path.join(target.folder, tag), manifest.digest, check) or changed
    return Published(changed, final, manifest)


def _stated(folder: str, manifest: Manifest, target: Target) -> Optional[Manifest]:
    """Return what is stated in ``folder`` already, if ``manifest`` says nothing new and it is good for long enough."""
    try:
        release = read_release(folder)
    except ImageError:
        return None
    stated = release.claims()
    if bool(release.signature) != bool(target.signer):
        return None
    if replace(manifest, version=stated.version, created=stated.created, expires=stated.expires) != stated:
        return None
    # what expires is stated anew when a third of its time is left, as far as that gives it more
    left, whole = stated.expires - manifest.created, manifest.expires - manifest.created
    same = not manifest.expires and not stated.expires
    return stated if same or (stated.expires and manifest.expires and whole / 3 < left <= whole) else None


def _state(folder: str, manifest: Manifest, target: Target) -> None:
    """Write manifest and signature; who reads between the two writes finds a wrong signature and reads again."""
    text = json.dumps(encode(manifest), indent=2, sort_keys=True) + "\n"
    if target.signer is not None:
        write_atomically(os.path.join(folder, SIGNATURE), target.signer.sign(text).encode())
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, SIGNATURE))
    write_atomically(os.path.join(folder, NAME), text.encode())


def _point(link: str, digest: str, check: bool) -> bool:
    """Let the tag's link point to ``digest``; return whether it did not."""
    if os.path.islink(link) and os.readlink(link) == digest:
        return False
    if not check:
        fresh = f"{link}.{os.getpid()}.new"
        os.symlink(digest, fresh)
        os.rename(fresh, link)
        sync(os.path.dirname(link))
    return True
