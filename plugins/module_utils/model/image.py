# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: immutable content by digest, the signed statements about it, and the tags that point to those."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from typing import Dict, Iterable, Optional, Tuple

from .codec import decode
from .errors import ConfigError, ImageError, RequestError

_TAG = re.compile(r"[a-z0-9][a-z0-9.-]*_[a-z0-9][a-z0-9.-]*_[a-z0-9][a-z0-9_]*\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
#: bytes; a statement is a few hundred, whatever is larger is not one
MANIFEST_LIMIT = 64 * 1024


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
class Allowed:
    """Who may use an image; all empty: everybody."""

    users: Tuple[str, ...] = ()
    groups: Tuple[str, ...] = ()
    vos: Tuple[str, ...] = ()

    def admits(self, user: str, groups: Iterable[str] = (), vos: Iterable[str] = ()) -> bool:
        """Return whether somebody may use the image; one match is enough."""
        if not (self.users or self.groups or self.vos):
            return True
        return user in self.users or bool(set(groups) & set(self.groups)) or bool(set(vos) & set(self.vos))

    def __str__(self) -> str:
        named = (("users", self.users), ("groups", self.groups), ("VOs", self.vos))
        return "; ".join(f"{name} {', '.join(some)}" for name, some in named if some) or "everybody"


@dataclass(frozen=True)
class FileDigest:
    """A file beside the manifest, by its plain name, and its sha256 (hex)."""

    path: str
    digest: str

    def __post_init__(self) -> None:
        if os.path.basename(self.path) != self.path or self.path in ("", ".", ".."):
            raise ImageError(
                object="manifest", value=self.path, reason="must be the name of a file beside the manifest"
            )
        if not _DIGEST.match(self.digest):
            raise ImageError(object="manifest", value=repr(self.digest), reason="is not a sha256 in hex")


@dataclass(frozen=True)
class Manifest:
    """What is said of an image, and signed.

    :param version: rises with every statement about the same tag; an older one is never taken after a newer one
    :param created: seconds since the epoch; ``expires`` likewise, 0: never
    :param virtual_size: bytes the guest sees; ``size``: bytes of the disk's file
    :param tags: names the image may be used under
    :param properties: for people, e.g. ``os``, ``kernel``
    """

    version: int
    created: int
    expires: int
    tags: Tuple[str, ...]
    disk: FileDigest
    format: str
    virtual_size: int
    size: int
    kernel: FileDigest
    initrd: FileDigest
    root_device: str
    cmdline: str
    allowed: Allowed = field(default_factory=Allowed)
    properties: Dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for tag in self.tags:
            check_tag(tag)

    @property
    def digest(self) -> str:
        """The image's identity."""
        return self.disk.digest

    def image(self, location: str) -> Image:
        """Return the image with its files in ``location``, a folder or a URL."""

        def artefact(file: FileDigest) -> Artefact:
            return Artefact(f"{location.rstrip('/')}/{file.path}", file.digest)

        return Image(
            digest=self.disk.digest,
            format=self.format,
            virtual_size=self.virtual_size,
            size=self.size,
            disk=artefact(self.disk),
            kernel=artefact(self.kernel),
            initrd=artefact(self.initrd),
            root_device=self.root_device,
            cmdline=self.cmdline,
        )


def parse_manifest(text: str, where: str) -> Manifest:
    """Return the manifest that ``text`` is; raise ImageError, its object starting with ``where``, if it is none."""
    try:
        if len(text) > MANIFEST_LIMIT:
            raise ValueError(f"{len(text)} characters, at most {MANIFEST_LIMIT} are read")
        return decode(Manifest, json.loads(text), where)
    except ValueError as error:
        raise ImageError(object=where, reason=f"is not a manifest: {error}") from None
    except (ConfigError, RequestError) as error:
        raise ImageError(object=error.object, value=error.value, reason=error.reason, hint=error.hint) from None


@dataclass(frozen=True)
class Release:
    """A signed statement about an image, as it was published. Nothing in it may be believed before it is verified.

    :param manifest: the signed text, to the letter
    :param signature: detached CMS signature of it, PEM
    :param location: folder or URL that holds the image's files
    """

    manifest: str
    signature: str
    location: str

    def claims(self) -> Manifest:
        """Return what the manifest says, unverified; raise ImageError where it can't be read."""
        return parse_manifest(self.manifest, f"manifest from {self.location}")


@dataclass(frozen=True)
class Rollout:
    """A release that only some hypervisors use yet."""

    release: Release
    hosts: Tuple[str, ...]


@dataclass(frozen=True)
class TagEntry:
    """A tag and the release it points to now; ``updated``: since when, seconds since the epoch."""

    tag: str
    release: Release
    updated: float = 0.0
    rollout: Optional[Rollout] = None

    def release_for(self, host: str) -> Release:
        """Return the release that the hypervisor ``host`` has to use."""
        return self.rollout.release if self.rollout and host in self.rollout.hosts else self.release


@dataclass(frozen=True)
class CachedImage:
    """An image in a hypervisor's cache: absolute paths of verified, immutable files.

    :param base: the image's own disk, where ``disk`` is a qcow2 layer over it; else empty
    """

    image: Image
    disk: str
    kernel: str
    initrd: str
    base: str = ""

    @property
    def format(self) -> str:
        """Return the format of ``disk``."""
        return "qcow2" if self.base else self.image.format

    @property
    def chain(self) -> Tuple[Tuple[str, str], ...]:
        """Return path and format of each file that a VM reads, uppermost first."""
        return ((self.disk, self.format),) + (((self.base, self.image.format),) if self.base else ())
