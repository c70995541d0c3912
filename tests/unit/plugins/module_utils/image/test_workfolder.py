# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unfinished files of imports: alone in their folder, and gone when nobody works on them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wnodes.image.workfolder import work_folder
from wnodes.model.errors import ImageError


def broken_off(parent: Path) -> None:
    with work_folder(str(parent), "a", resume=True) as folder:
        Path(folder, "part").touch()
        raise KeyError


def test_the_folder_is_gone_afterwards_and_after_a_failure(tmp_path: Path) -> None:
    with work_folder(str(tmp_path), "a") as folder:
        Path(folder, "disk").touch()
    with pytest.raises(KeyError), work_folder(str(tmp_path), "a"):
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_what_was_fetched_in_part_is_there_for_the_next_one(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        broken_off(tmp_path)
    with work_folder(str(tmp_path), "a", resume=True) as folder:
        assert Path(folder, "part").exists()
    assert os.listdir(tmp_path) == []


def test_what_killed_imports_left_goes_and_what_others_work_on_stays(tmp_path: Path) -> None:
    (tmp_path / ".import-dead").mkdir()
    (tmp_path / ".import-dead" / "disk").touch()
    (tmp_path / ".import-b.qcow2.base").touch()
    (tmp_path / "published").mkdir()
    with work_folder(str(tmp_path), "live"), work_folder(str(tmp_path), "a"):
        assert sorted(os.listdir(tmp_path)) == [".import-a", ".import-live", "published"]
        with pytest.raises(ImageError, match="being worked on by another process"), work_folder(str(tmp_path), "live"):
            pass
        assert (tmp_path / ".import-live").exists()
