# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest: read back as the model's image, strictly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wnodes.image.manifest import Manifest, read_manifest
from wnodes.model.codec import encode
from wnodes.model.errors import ImageError, RequestError

MANIFEST = Manifest.of("d" * 64, 3 << 30, 400, "a" * 64, "b" * 64, "/dev/vda", "quiet", ("worker_debian12_x86_64",))


def test_what_is_written_is_read_with_absolute_locations(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(encode(MANIFEST)))
    image, tags = read_manifest(str(tmp_path))
    assert tags == ("worker_debian12_x86_64",)
    assert image.kernel.location == str(tmp_path / "vmlinuz")
    assert image == MANIFEST.image(str(tmp_path))


def test_a_tag_that_is_none_is_refused() -> None:
    with pytest.raises(RequestError):
        Manifest.of("d" * 64, 1, 1, "a", "b", "/dev/vda", "", ("x",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "can't be read"),
        ("{", "can't be read"),
        ("{}", "digest"),
        ('{"surprise": 1}', "surprise"),
    ],
)
def test_a_wrong_manifest_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ImageError, match=said):
        read_manifest(str(tmp_path))


def test_a_manifest_can_not_point_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(encode(MANIFEST)).replace('"vmlinuz"', '"../../etc/shadow"'))
    with pytest.raises(ImageError, match="beside the manifest"):
        read_manifest(str(path.parent))
