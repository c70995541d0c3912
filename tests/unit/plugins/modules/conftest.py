# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of the catalogue over a directory in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wnodes.farm.plugins.modules import image_tag, image_tag_info
from tests.releases import MANIFEST, release
from tests.unit.plugins.modules.matrix import Answer, Call, run
from wnodes.directory.sqlite import SqliteDirectory
from wnodes.model.clock import FakeClock
from wnodes.model.errors import ImageError
from wnodes.model.image import Manifest, Release


class Keyring:
    def verify(self, signed: Release, tag: str) -> tuple[Manifest, str]:
        if not signed.signature:
            raise ImageError(object=f"image of tag {tag}", reason="is not signed")
        return signed.claims(), "builder"


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> SqliteDirectory:
    made = SqliteDirectory(":memory:", FakeClock())
    for module in (image_tag, image_tag_info):
        monkeypatch.setattr(module, "backend", lambda socket: made)
    monkeypatch.setattr(image_tag, "verifier", lambda authority: Keyring())
    return made


@pytest.fixture
def call(directory: SqliteDirectory, capsys: pytest.CaptureFixture[str]) -> Call:
    def call_one(module: Any = image_tag, **options: Any) -> Answer:
        return run(module, capsys, **options)

    return call_one


def folder(path: Path, manifest: Manifest = MANIFEST, signature: str = "signed") -> str:
    path.mkdir(exist_ok=True)
    (path / "manifest.json").write_text(release(manifest).manifest)
    (path / "manifest.json.p7s").write_text(signature)
    return str(path)
