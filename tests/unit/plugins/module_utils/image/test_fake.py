# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The judge that believes claims, but for tags it was told to refuse."""

from __future__ import annotations

import pytest

from tests.releases import TAG
from tests.releases import release as made
from wnodes.image.fake import FakeTrust
from wnodes.model.errors import ImageError


def test_what_a_release_claims_is_believed_unless_its_tag_is_refused() -> None:
    trust, release = FakeTrust(), made()
    assert trust.admit(release, TAG) == release.claims()
    trust.refused[TAG] = "is withdrawn"
    with pytest.raises(ImageError, match="is withdrawn"):
        trust.admit(release, TAG)
