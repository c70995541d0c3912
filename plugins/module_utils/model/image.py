# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: immutable content by digest, and the tags that point to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Tuple

from .errors import RequestError

_TAG = re.compile(r"[a-z0-9][a-z0-9.-]*_[a-z0-9][a-z0-9.-]*_[a-z0-9][a-z0-9_]*\Z")


def check_tag(tag: str) -> str:
    """Return ``tag`` if it reads ``<name>_<os>_<arch>`` (lower case, at most 64 characters), else RequestError."""
    if len(tag) > 64 or not _TAG.match(tag):
        raise RequestError(
            object="image tag",
            value=repr(tag),
            reason="is not of the form <name>_<os>_<arch>",
            hint="for example worker_debian12_x86_64",
        )
    return tag


@dataclass(frozen=True)
class Artefact:
    """One file of an image: where it is (absolute path or URL) and its sha256 (hex)."""

    location: str
    digest: str


@dataclass(frozen=True)
class Image:
    """One immutable image.

    :param digest: sha256 (hex) of the disk; the image's identity
    :param format: ``qcow2`` or ``raw``
    :param virtual_size: bytes the guest sees
    :param size: bytes of the disk file
    :param root_device: as the guest names it, e.g. ``/dev/vda``
    :param cmdline: kernel command line for direct kernel boot
    """

    digest: str
    format: str
    virtual_size: int
    size: int
    disk: Artefact
    kernel: Artefact
    initrd: Artefact
    root_device: str
    cmdline: str


@dataclass(frozen=True)
class TagEntry:
    """A tag and the image it points to now."""

    tag: str
    image: Image
    updated: float = 0.0


@dataclass(frozen=True)
class CachedImage:
    """An image in a hypervisor's cache: absolute paths of verified, immutable files."""

    image: Image
    disk: str
    kernel: str
    initrd: str


TagList = Tuple[TagEntry, ...]
