# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What integration tests share: the worker image of the lab."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from wnodes.image.manifest import read_release
from wnodes.model.image import CachedImage, Release

ROOT = Path(__file__).resolve().parents[2]
LAB_IMAGE = Path("/var/lib/wnodes-lab/site/shared/images/worker_debian12_x86_64")


@pytest.fixture(scope="session")
def worker_release() -> Release:
    """Return the worker image's release: of the lab (which is built if it is missing), or ``WNODES_WORKER_IMAGE``."""
    folder = Path(os.environ.get("WNODES_WORKER_IMAGE", LAB_IMAGE))
    if folder == LAB_IMAGE and not folder.exists():
        subprocess.run(["make", "-C", str(ROOT), "lab-site"], check=True, timeout=1800)
    return read_release(str(folder))


@pytest.fixture(scope="session")
def worker_image(worker_release: Release) -> CachedImage:
    """Return the worker image in place."""
    image = worker_release.claims().image(worker_release.location)
    return CachedImage(image, image.disk.location, image.kernel.location, image.initrd.location)
