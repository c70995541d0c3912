# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publishing, rolling out and retiring by module: once, truthfully foretold, and never what nobody would boot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wnodes.farm.plugins.modules import image_tag, image_tag_info
from tests.releases import MANIFEST, TAG
from tests.unit.plugins.modules.conftest import Module, folder
from wnodes.directory.sqlite import SqliteDirectory
from wnodes.model.errors import DirectoryError

OTHER = "other_debian12_x86_64"


def test_create_change_and_retire_are_foretold_done_once_and_shown(
    call: Module, directory: SqliteDirectory, tmp_path: Path
) -> None:
    old, new = folder(tmp_path / "a"), folder(tmp_path / "b", replace(MANIFEST, version=2))
    steps: list[tuple[dict[str, Any], str]] = [
        ({"path": old}, old),
        ({"path": new, "hosts": ["hv1"]}, old),
        ({"path": new, "hosts": []}, old),
        ({"path": new}, new),
        ({"tags": [TAG], "state": "absent"}, ""),
    ]
    for options, location in steps:
        before = directory.tags()
        foretold = call(**options, _ansible_check_mode=True, _ansible_diff=True)
        assert directory.tags() == before
        done = call(**options, _ansible_diff=True)
        assert foretold == done
        assert done["changed"]
        assert done["diff"][0]["before"] != done["diff"][0]["after"]
        assert [entry.release.location for entry in directory.tags()] == ([location] if location else [])
        for check in (True, False):
            assert not call(**options, _ansible_check_mode=check)["changed"]


def test_an_image_that_nobody_would_boot_is_not_published(
    call: Module, directory: SqliteDirectory, tmp_path: Path
) -> None:
    answer = call(path=folder(tmp_path / "a", signature=""))
    assert answer["error"]["error"] == "ImageError"
    assert "is not signed" in answer["msg"]
    assert directory.tags() == ()


def test_an_older_version_is_not_published(call: Module, directory: SqliteDirectory, tmp_path: Path) -> None:
    call(path=folder(tmp_path / "b", replace(MANIFEST, version=2)))
    answer = call(path=folder(tmp_path / "a"), tags=[OTHER, TAG])
    assert "older than version 2" in answer["msg"]
    assert [entry.tag for entry in directory.tags()] == [TAG]


def test_a_rollout_needs_something_for_the_others(call: Module, tmp_path: Path) -> None:
    assert "publish it for all" in call(path=folder(tmp_path / "a"), hosts=["hv1"])["msg"]


def test_an_image_without_tags_needs_some(call: Module, tmp_path: Path) -> None:
    assert "names no tags" in call(path=folder(tmp_path / "a", replace(MANIFEST, tags=())))["msg"]


@pytest.mark.parametrize("module", [image_tag, image_tag_info])
def test_a_silent_nameserver_is_told(
    call: Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: Any
) -> None:
    class Down:
        def __getattr__(self, name: str) -> Any:
            raise DirectoryError(object="nameserver", reason="does not answer")

    monkeypatch.setattr(module, "backend", lambda socket: Down())
    options = {"path": folder(tmp_path / "a")} if module is image_tag else {}
    assert call(module, **options)["error"]["error"] == "DirectoryError"
