# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What integration tests share: the worker image of the lab."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from wnodes.image.manifest import read_manifest
from wnodes.model.image import CachedImage

ROOT = Path(__file__).resolve().parents[2]
LAB_IMAGE = Path("/var/lib/wnodes-lab/site/shared/images/worker_debian12_x86_64")


@pytest.fixture(scope="session")
def worker_image() -> CachedImage:
    """Return the worker image in place: of the lab (which is built where it is missing), or ``WNODES_WORKER_IMAGE``."""
    folder = Path(os.environ.get("WNODES_WORKER_IMAGE", LAB_IMAGE))
    if folder == LAB_IMAGE and not folder.exists():
        subprocess.run(["make", "-C", str(ROOT), "lab-site"], check=True, timeout=1800)
    image, _tags = read_manifest(str(folder.resolve()))
    return CachedImage(image, image.disk.location, image.kernel.location, image.initrd.location)
