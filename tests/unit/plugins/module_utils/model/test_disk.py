# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file system tells what it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from wnodes.model.disk import disk


def test_a_folder_has_the_room_of_its_file_system(tmp_path: Path) -> None:
    found = disk(str(tmp_path))
    assert 0 < found.free_mib <= found.total_mib


def test_a_folder_that_is_not_there_has_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        disk(str(tmp_path / "none"))
