# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file beside a published image that says what it is: to and from the model's Image."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any, Dict, Tuple

from ..model.codec import decode
from ..model.errors import ImageError, WnodesError
from ..model.image import Artefact, Image, check_tag

NAME = "manifest.json"
DISK, KERNEL, INITRD = "disk.qcow2", "vmlinuz", "initrd"


@dataclass(frozen=True)
class _Path:
    path: str


@dataclass(frozen=True)
class _File:
    path: str
    digest: str


@dataclass(frozen=True)
class Manifest:
    """The manifest as it stands in the file; paths are relative to its folder.

    :param size: bytes of the disk's file; ``virtual_size``: bytes the guest sees
    """

    digest: str
    format: str
    virtual_size: int
    size: int
    kernel: _File
    initrd: _File
    root_device: str
    cmdline: str
    tags: Tuple[str, ...]
    disk: _Path = _Path(DISK)

    def __post_init__(self) -> None:
        for tag in self.tags:
            check_tag(tag)

    def image(self, folder: str) -> Image:
        """Return the image, its files located in ``folder``."""

        def artefact(path: str, digest: str) -> Artefact:
            if os.path.basename(path) != path:
                raise ImageError(
                    object=f"{folder}/{NAME}", value=path, reason="must be the name of a file beside the manifest"
                )
            return Artefact(os.path.join(os.path.abspath(folder), path), digest)

        return Image(
            digest=self.digest,
            format=self.format,
            virtual_size=self.virtual_size,
            size=self.size,
            disk=artefact(self.disk.path, self.digest),
            kernel=artefact(self.kernel.path, self.kernel.digest),
            initrd=artefact(self.initrd.path, self.initrd.digest),
            root_device=self.root_device,
            cmdline=self.cmdline,
        )

    @classmethod
    def of(
        cls,
        image_digest: str,
        virtual_size: int,
        size: int,
        kernel: str,
        initrd: str,
        root_device: str,
        cmdline: str,
        tags: Tuple[str, ...],
    ) -> Manifest:
        """Build the manifest of a published folder; ``kernel`` and ``initrd`` are digests."""
        return cls(
            image_digest,
            "qcow2",
            virtual_size,
            size,
            _File(KERNEL, kernel),
            _File(INITRD, initrd),
            root_device,
            cmdline,
            tags,
        )


def read_manifest(folder: str) -> Tuple[Image, Tuple[str, ...]]:
    """Return image and tags published in ``folder``; raise ImageError where its manifest is missing or wrong."""
    path = os.path.join(folder, NAME)
    try:
        with open(path, encoding="utf-8") as stream:
            data: Dict[str, Any] = json.load(stream)
        manifest = decode(Manifest, data, path)
    except (OSError, ValueError) as error:
        raise ImageError(object=path, reason=f"can't be read: {error}") from None
    except WnodesError as error:
        raise ImageError(object=error.object, value=error.value, reason=error.reason, hint=error.hint) from None
    return manifest.image(folder), manifest.tags
