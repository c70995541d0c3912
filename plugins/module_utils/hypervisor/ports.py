# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hypervisor needs of its neighbours: no more than this."""

from __future__ import annotations

from typing import Dict, Protocol, Tuple

from ..directory.base import Heartbeat
from ..model.image import CachedImage, Image, Manifest, Release, TagEntry
from ..model.lease import Lease


class ImageSource(Protocol):
    """Verified copies of images on this node."""

    def ensure(self, image: Image) -> CachedImage:
        """Return the image's files, fetched and verified first where they are not here yet.

        :raises ImageError: it is not what its digest says
        :raises UnavailableError: it can't be read now
        """

    def scrub(self) -> Tuple[str, ...]:
        """Read all images that are here again; return the digests of damaged ones, which nobody gets any more."""

    def progress(self) -> Dict[str, Tuple[int, int, float]]:
        """Return bytes here, bytes in all and bytes a second of the images under way, by digest."""


class ReleaseAdmission(Protocol):
    """Which releases may boot here; see image/trust.py."""

    def admit(self, release: Release, tag: str) -> Manifest:
        """Return what the release says, if its image may boot as ``tag``.

        :raises ImageError: it may not
        :raises UnavailableError: it can't be told now
        """


class Nameserver(Protocol):
    """The part of the directory that a hypervisor uses; see directory/base.py."""

    def lease(self, holder: str, owner: str, ttl_s: float, name: str = "") -> Lease:
        """Lease a host name to ``holder``, or return the one it has."""

    def renew(self, owner: str, holders: Tuple[str, ...], ttl_s: float) -> Tuple[Lease, ...]:
        """Renew; what is missing in the answer is lost."""

    def release(self, holder: str, epoch: int) -> bool:
        """Give a lease back."""

    def tag(self, tag: str) -> TagEntry:
        """Return the entry of a tag."""

    def tags(self) -> Tuple[TagEntry, ...]:
        """Return all tags."""

    def beat(self, heartbeat: Heartbeat) -> None:
        """Tell how we are."""
