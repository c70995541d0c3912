# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest: read back as the model's image, strictly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.releases import MANIFEST, release
from wnodes.image.manifest import read_release
from wnodes.model.codec import encode
from wnodes.model.errors import ImageError


def put(folder: Path, text: str) -> str:
    (folder / "manifest.json").write_text(text)
    return str(folder)


def test_what_is_written_is_read_to_the_letter_with_the_folder_behind_the_link(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    text = json.dumps(encode(MANIFEST), indent=3)
    put(folder, text)
    (folder / "manifest.json.p7s").write_text("signature")
    (tmp_path / "tag").symlink_to("d")
    found = read_release(str(tmp_path / "tag"))
    assert (found.manifest, found.signature, found.location) == (text, "signature", str(folder))
    assert found.claims() == MANIFEST
    assert MANIFEST.image(found.location).kernel.location == str(folder / "vmlinuz")


def test_an_unsigned_one_is_read_as_unsigned(tmp_path: Path) -> None:
    assert read_release(put(tmp_path, release().manifest)).signature == ""


def test_files_at_a_url_are_beside_the_manifest() -> None:
    assert MANIFEST.image("https://head/images/").disk.location == "https://head/images/disk.qcow2"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "can't be read"),
        ("{", "not a manifest"),
        ("{}", "version"),
        ("[]", "mapping"),
        ('{"surprise": 1}', "surprise"),
        (" " * 70_000, "at most"),
        (release().manifest.replace('"vmlinuz"', '"../../etc/shadow"'), "beside the manifest"),
        (release().manifest.replace("d" * 64, "D" * 64), "not a sha256"),
        (release().manifest.replace("worker_debian12_x86_64", "worker"), "not of the form"),
    ],
)
def test_a_wrong_manifest_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        put(tmp_path, text)
    with pytest.raises(ImageError, match=said):
        read_release(str(tmp_path))
