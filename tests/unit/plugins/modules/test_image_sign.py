# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing anew by module: a higher version, the rest as it was; nothing in check mode."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wnodes.farm.plugins.modules import image_sign
from tests.releases import MANIFEST, TAG
from tests.unit.plugins.modules.conftest import folder
from tests.unit.plugins.modules.matrix import Answer, run
from wnodes.image.manifest import read_release

OTHER = "other_debian12_x86_64"


@dataclass(frozen=True)
class FakeSigner:
    key: str
    certificate: str

    def until(self) -> int:
        return 0

    def sign(self, text: str) -> str:
        return f"{self.certificate} signed {len(text)}"


@pytest.fixture(autouse=True)
def signer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_sign, "Signer", FakeSigner)


def call(capsys: pytest.CaptureFixture[str], path: str, **options: Any) -> Answer:
    given = {"path": path, "tags": [TAG, OTHER], "sign_key": "/key", "sign_certificate": "/crt", **options}
    return run(image_sign, capsys, **given)


def test_it_is_stated_anew_under_all_its_tags(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = folder(tmp_path / "a")
    before = read_release(path)
    assert call(capsys, path, check=True)["changed"]
    assert read_release(path) == before
    answer = call(capsys, path)
    release = read_release(str(tmp_path / OTHER))
    claims = release.claims()
    assert answer["published"]["path"] == release.location == path
    assert claims.version > before.claims().version
    assert replace(claims, version=1, created=MANIFEST.created) == replace(MANIFEST, tags=(TAG, OTHER))
    assert release.signature == f"/crt signed {len(release.manifest)}"


def test_what_is_not_published_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "can't be read" in call(capsys, str(tmp_path))["msg"]
