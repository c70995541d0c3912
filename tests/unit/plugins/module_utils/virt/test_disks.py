# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disks of a VM are what was asked for, and nobody else's."""

from __future__ import annotations

from pathlib import Path

from tests.unit.plugins.module_utils.virt.template_fixture import Node
from wnodes.virt.disks import copy_sparse, make_overlay, make_scratch


def test_disks_are_made_by_the_tools_and_readable_by_their_owner_only(tmp_path: Path) -> None:
    node = Node(tmp_path)
    overlay, scratch, copy = (tmp_path / name for name in ("root.qcow2", "scratch.raw", "copy.raw"))
    make_overlay(node.run, ("/images/disk", "raw"), str(overlay))
    make_scratch(node.run, str(scratch), 100)
    copy_sparse(node.run, str(scratch), str(copy))
    assert [argv[0] for argv in node.ran] == ["qemu-img", "mke2fs", "cp"]
    assert node.ran[0][-5:] == ("-b", "/images/disk", "-F", "raw", str(overlay))
    assert {path.stat().st_mode & 0o777 for path in (overlay, scratch, copy)} == {0o600}


def test_a_scratch_disk_takes_no_room(tmp_path: Path) -> None:
    path = tmp_path / "scratch.raw"
    make_scratch(lambda argv, timeout: None, str(path), 100)  # type: ignore[arg-type, return-value]
    assert (path.stat().st_size, path.stat().st_blocks) == (100 << 20, 0)
