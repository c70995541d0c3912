# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases for tests that need one and do not care for its signature."""

from __future__ import annotations

import json

from wnodes.model.codec import encode
from wnodes.model.image import FileDigest, Manifest, Release

TAG = "worker_debian12_x86_64"
MANIFEST = Manifest(
    version=1,
    created=1_000_000,
    expires=0,
    tags=(TAG,),
    disk=FileDigest("disk.qcow2", "d" * 64),
    format="qcow2",
    virtual_size=3 << 30,
    size=400 << 20,
    kernel=FileDigest("vmlinuz", "a" * 64),
    initrd=FileDigest("initrd", "b" * 64),
    root_device="/dev/vda",
    cmdline="console=ttyS0 root=/dev/vda rw",
)


def release(manifest: Manifest = MANIFEST, location: str = "https://head/images", signature: str = "signed") -> Release:
    """Return a release that says ``manifest``."""
    return Release(json.dumps(encode(manifest)), signature, location)


RELEASE = release()
