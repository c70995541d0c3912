# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publishing, rolling out and retiring by module: once, truthfully foretold, and never what nobody would boot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wnodes.farm.plugins.modules import image_tag, image_tag_info, lease_info
from tests.releases import MANIFEST, TAG
from tests.unit.plugins.modules.conftest import folder
from tests.unit.plugins.modules.matrix import Call, Step, walk
from wnodes.directory.sqlite import SqliteDirectory
from wnodes.model.errors import DirectoryError

OTHER = "other_debian12_x86_64"


def test_create_change_and_retire_are_foretold_done_once_and_shown(
    call: Call, directory: SqliteDirectory, tmp_path: Path
) -> None:
    old, new = folder(tmp_path / "a"), folder(tmp_path / "b", replace(MANIFEST, version=2))
    steps = [
        (Step("create", {"path": old}), old),
        (Step("change for some", {"path": new, "hosts": ["hv1"]}), old),
        (Step("change back", {"path": new, "hosts": []}), old),
        (Step("change", {"path": new}), new),
        (Step("delete", {"tags": [TAG], "state": "absent"}), ""),
    ]
    for step, location in steps:
        walk(call, directory.tags, [step])
        assert [entry.release.location for entry in directory.tags()] == ([location] if location else [])


def test_an_image_that_nobody_would_boot_is_not_published(
    call: Call, directory: SqliteDirectory, tmp_path: Path
) -> None:
    answer = call(path=folder(tmp_path / "a", signature=""))
    assert answer["error"]["error"] == "ImageError"
    assert "is not signed" in answer["msg"]
    assert directory.tags() == ()


def test_an_older_version_is_not_published(call: Call, directory: SqliteDirectory, tmp_path: Path) -> None:
    call(path=folder(tmp_path / "b", replace(MANIFEST, version=2)))
    answer = call(path=folder(tmp_path / "a"), tags=[OTHER, TAG])
    assert "older than version 2" in answer["msg"]
    assert [entry.tag for entry in directory.tags()] == [TAG]


def test_a_rollout_needs_something_for_the_others(call: Call, tmp_path: Path) -> None:
    assert "publish it for all" in call(path=folder(tmp_path / "a"), hosts=["hv1"])["msg"]


def test_an_image_without_tags_needs_some(call: Call, tmp_path: Path) -> None:
    assert "names no tags" in call(path=folder(tmp_path / "a", replace(MANIFEST, tags=())))["msg"]


@pytest.mark.parametrize("module", [image_tag, image_tag_info, lease_info])
def test_a_silent_nameserver_is_told(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: Any) -> None:
    class Down:
        def __getattr__(self, name: str) -> Any:
            raise DirectoryError(object="nameserver", reason="does not answer")

    monkeypatch.setattr(module, "backend", lambda socket: Down())
    options = {"path": folder(tmp_path / "a")} if module is image_tag else {}
    assert call(module, **options)["error"]["error"] == "DirectoryError"
