# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A judge of images that trusts what it is told to: for tests, and for trying a node without a signer."""

from __future__ import annotations

from typing import Dict

from ..model.errors import ImageError
from ..model.image import Manifest, Release


class FakeTrust:
    """A :class:`trust.ReleaseTrust` that believes every release but those of the tags in ``refused`` (tag → reason)."""

    def __init__(self) -> None:
        self.refused: Dict[str, str] = {}

    def admit(self, release: Release, tag: str) -> Manifest:
        """Return what the release claims."""
        if tag in self.refused:
            raise ImageError(object=f"image of tag {tag}", reason=self.refused[tag])
        return release.claims()
