# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish a sealed image: a folder named by its digest, complete or not there at all, and tags that point to it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from typing import Tuple

from ..model.codec import encode
from ..model.errors import ImageError
from ..model.image import check_tag
from .disk import READABLE, TOOLS, DiskTools, copy, sha256, sync, write_atomically
from .header import check_header
from .manifest import DISK, INITRD, KERNEL, NAME, Manifest

_INCOMING = ".incoming-"
_STALE_S = 24 * 3600.0


@dataclass(frozen=True)
class Target:
    """Where and as what an image is published.

    :param folder: gets ``<digest>/`` and one link per tag
    :param root_device: as the guest names it
    """

    folder: str
    tags: Tuple[str, ...]
    cmdline: str
    root_device: str = "/dev/vda"

    def __post_init__(self) -> None:
        for tag in self.tags:
            check_tag(tag)
        if not os.path.isabs(self.folder):
            raise ImageError(object="publish_to", value=self.folder, reason="must be an absolute path")


@dataclass(frozen=True)
class Published:
    """What is now published (in check mode: would be), and whether that is news."""

    changed: bool
    path: str
    manifest: Manifest


def publish(
    disk: str, format: str, kernel: str, initrd: str, target: Target, *, check: bool = False, tools: DiskTools = TOOLS
) -> Published:
    """Publish ``disk`` with its ``kernel`` and ``initrd`` files; the same content is published once.

    A qcow2 disk is published as it is, a raw one converted. Files become read-only; the folder appears in one rename.

    :raises ImageError: refused header, or the folder can't be written
    """
    check_header(disk, format)
    try:
        if not check:
            os.makedirs(target.folder, exist_ok=True)
            _sweep(target.folder)
        folder = tempfile.mkdtemp(prefix=_INCOMING, dir=None if check else target.folder)
        try:
            manifest = _fill(folder, disk, format, kernel, initrd, target, tools)
            return _settle(folder, manifest, target, check)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise ImageError(object="publish_to", value=target.folder, reason=f"can't be written: {error}") from error


def _sweep(folder: str) -> None:
    """Remove what publishers that died left; a day is longer than any of them works."""
    for entry in os.scandir(folder):
        if entry.name.startswith(_INCOMING) and time.time() - entry.stat().st_mtime > _STALE_S:
            shutil.rmtree(entry.path, ignore_errors=True)


def _fill(folder: str, disk: str, format: str, kernel: str, initrd: str, target: Target, tools: DiskTools) -> Manifest:
    final = os.path.join(folder, DISK)
    if format == "qcow2":
        digest = copy(disk, final)
    else:
        tools.to_qcow2(disk, format, final)
        digest = sha256(final)
    header = check_header(final, "qcow2")
    kernel_digest, initrd_digest = (
        copy(source, os.path.join(folder, name)) for source, name in ((kernel, KERNEL), (initrd, INITRD))
    )
    return Manifest.of(
        digest,
        header.virtual_size,
        os.path.getsize(final),
        kernel_digest,
        initrd_digest,
        target.root_device,
        target.cmdline,
        target.tags,
    )


def _settle(folder: str, manifest: Manifest, target: Target, check: bool) -> Published:
    text = (json.dumps(encode(manifest), indent=2, sort_keys=True) + "\n").encode()
    final = os.path.join(target.folder, manifest.digest)
    changed = not os.path.isdir(final)
    if changed and not check:
        write_atomically(os.path.join(folder, NAME), text)
        for name in (DISK, KERNEL, INITRD):
            os.chmod(os.path.join(folder, name), 0o444)
            sync(os.path.join(folder, name))
        os.chmod(folder, READABLE)
        sync(folder)
        os.rename(folder, final)
        sync(target.folder)
    elif not changed and _read(os.path.join(final, NAME)) != text:
        changed = True
        if not check:
            write_atomically(os.path.join(final, NAME), text)
    for tag in target.tags:
        changed = _point(os.path.join(target.folder, tag), manifest.digest, check) or changed
    return Published(changed, final, manifest)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return b""


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
