# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What integration tests share: the worker image of the lab, a private Slurm."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.private_slurm import PrivateSlurm
from tests.integration.slurm_bait import Site, baited
from wnodes.image.manifest import read_release
from wnodes.model.image import CachedImage, Release

ROOT = Path(__file__).resolve().parents[2]
LAB_IMAGE = Path("/var/lib/wnodes-lab/site/shared/images/worker_debian12_x86_64")
#: credentials are over soon, so that what Slurm keeps for as long as they may be used shows soon
SLURM_SETTINGS = {"AuthInfo": "cred_expire=5", "GresTypes": "tape"}
SLURM_MORE = ("PartitionName=long Nodes=hv1,hv2 MaxTime=UNLIMITED PreemptMode=OFF", "Licenses=idl:1")


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


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[PrivateSlurm]:
    """Return a private Slurm; it is started once."""
    made = PrivateSlurm(SLURM_SETTINGS, SLURM_MORE)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def slurm(slurm_cluster: PrivateSlurm) -> Iterator[PrivateSlurm]:
    """Return the private Slurm, empty."""
    slurm_cluster.reset()
    yield slurm_cluster
    slurm_cluster.reset()


@pytest.fixture
def site(slurm: PrivateSlurm) -> Iterator[Site]:
    """Return the private Slurm with a bait on its first node."""
    with baited(slurm) as made:
        yield made
