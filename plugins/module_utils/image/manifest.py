# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files beside a published image: the manifest that says what it is, and the signature of that."""

from __future__ import annotations

import os
from typing import Optional

from ..model.errors import ImageError
from ..model.image import MANIFEST_LIMIT, Release

NAME = "manifest.json"
SIGNATURE = NAME + ".p7s"
DISK, KERNEL, INITRD = "disk.qcow2", "vmlinuz", "initrd"


def read_release(folder: str) -> Release:
    """Return what is published in ``folder``, the signature empty where there is none.

    :raises ImageError: there is no manifest, or it is not one
    """
    # a link of a tag would lead elsewhere as soon as the tag does
    folder = os.path.realpath(folder)
    release = Release(_read(folder, NAME), _read(folder, SIGNATURE, missing=""), folder)
    release.claims()
    return release


def _read(folder: str, name: str, missing: Optional[str] = None) -> str:
    path = os.path.join(folder, name)
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read(MANIFEST_LIMIT + 1)
    except FileNotFoundError as error:
        if missing is not None:
            return missing
        raise ImageError(object=path, reason=f"can't be read: {error.strerror}") from None
    except (OSError, ValueError) as error:
        raise ImageError(object=path, reason=f"can't be read: {error}") from None
