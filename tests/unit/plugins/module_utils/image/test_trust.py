# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was replaced never boots again, and each refusal is on record."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from tests.releases import MANIFEST, RELEASE, TAG, release
from wnodes.image.trust import ReleaseTrust
from wnodes.model.errors import ConfigError, ImageError, UnavailableError
from wnodes.model.image import Manifest, Release


class Verifier:
    """Believes everything until it is told not to."""

    error: Exception | None = None

    def verify(self, signed: Release, tag: str) -> tuple[Manifest, str]:
        if self.error is not None:
            raise self.error
        return signed.claims(), "builder"


@pytest.fixture
def verifier() -> Verifier:
    return Verifier()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "versions.json")


def version(number: int, **more: object) -> Release:
    return release(replace(MANIFEST, version=number, **more))  # type: ignore[arg-type]


def test_an_older_version_is_refused_also_after_a_restart(verifier: Verifier, path: str) -> None:
    trust = ReleaseTrust(verifier, path)
    for number in (1, 2, 2):
        assert trust.admit(version(number), TAG).version == number
    for again in (trust, ReleaseTrust(verifier, path)):
        with pytest.raises(ImageError, match=r"rolled back.*version 2 was seen here"):
            again.admit(version(1), TAG)
        assert again.admit(version(2), TAG).version == 2


def test_two_statements_of_one_version_are_a_forgery(verifier: Verifier, path: str) -> None:
    trust = ReleaseTrust(verifier, path)
    trust.admit(version(2), TAG)
    with pytest.raises(ImageError, match="another manifest of a version seen before"):
        trust.admit(version(2, cmdline="init=/bin/sh"), TAG)


def test_each_tag_has_versions_of_its_own(verifier: Verifier, path: str) -> None:
    trust = ReleaseTrust(verifier, path)
    trust.admit(version(9), TAG)
    assert trust.admit(version(1), "other_debian12_x86_64").version == 1


def test_a_refusal_is_in_the_log_once_and_so_is_its_end(
    verifier: Verifier, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    trust = ReleaseTrust(verifier, path)
    verifier.error = ImageError(object="image", reason="has expired")
    for _attempt in range(3):
        with pytest.raises(ImageError):
            trust.admit(RELEASE, TAG)
    verifier.error = None
    trust.admit(RELEASE, TAG)
    trust.admit(RELEASE, TAG)
    said = [record.getMessage() for record in caplog.records]
    assert [text.startswith("audit: image") for text in said] == [True, True]
    assert "has expired" in said[0]
    assert "accepted again" in said[1]


def test_what_can_not_be_remembered_is_not_admitted(verifier: Verifier, tmp_path: Path) -> None:
    trust = ReleaseTrust(verifier, str(tmp_path / "missing" / "versions.json"))
    with pytest.raises(UnavailableError, match="can't be noted"):
        trust.admit(RELEASE, TAG)


@pytest.mark.parametrize("text", ["{", "[]", '{"a": {"version": "x", "digest": ""}}'])
def test_a_damaged_memory_is_not_forgotten_silently(verifier: Verifier, path: str, text: str) -> None:
    Path(path).write_text(text)
    with pytest.raises(ConfigError, match=r"versions\.json"):
        ReleaseTrust(verifier, path)
