# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of VMs: made whole, thrown away at once, never believed."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.hypervisor.node_fixture import IMAGE, Tools
from wnodes.hypervisor.files import VmFiles
from wnodes.model.errors import NotFoundError
from wnodes.model.image import CachedImage

CACHED = CachedImage(IMAGE, "/images/disk.qcow2", "/images/vmlinuz", "/images/initrd")


@pytest.fixture
def tools() -> Tools:
    return Tools()


@pytest.fixture
def files(tmp_path: Path, tools: Tools) -> VmFiles:
    return VmFiles(str(tmp_path), tools.run)


def test_overlay_and_scratch(files: VmFiles, tools: Tools) -> None:
    made = files.prepare("r1", CACHED, 100)
    overlay, scratch = tools.argvs
    assert overlay[overlay.index("-b") : -1] == ["-b", "/images/disk.qcow2", "-F", "qcow2"]
    assert (overlay[-1], scratch[0], scratch[-1]) == (made.overlay, "mke2fs", made.scratch)
    assert (Path(made.scratch).stat().st_size, Path(made.scratch).stat().st_mode & 0o777) == (100 << 20, 0o600)
    assert Path(made.overlay).parent.stat().st_mode & 0o777 == 0o711


def test_a_second_attempt_starts_from_nothing(files: VmFiles) -> None:
    made = files.prepare("r1", CACHED, 0)
    Path(made.overlay).write_text("used")
    Path(made.console).write_text("old")
    made = files.prepare("r1", CACHED, 0)
    assert Path(made.overlay).read_text() == ""
    assert files.console_tail("r1") == ""


def test_what_is_discarded_is_away_at_once_and_deleted_later(files: VmFiles, tmp_path: Path) -> None:
    for _ in range(3):
        files.prepare("r1", CACHED, 0)
        files.discard("r1")
    files.discard("r1")
    assert files.all() == ()
    assert len(list((tmp_path / "trash").iterdir())) == 3
    files.empty_trash()
    assert list((tmp_path / "trash").iterdir()) == []


def test_a_console_is_plain_text_and_short(files: VmFiles) -> None:
    console = Path(files.prepare("r1", CACHED, 0).console)
    console.write_bytes(
        b"\x1b]0;title\x07" + b"x" * 100_000 + b"\n" + b"\x1b[31mred\x1b[0m\x00\xff\r\n\n" * 20 + b"last"
    )
    lines = files.console_tail("r1").split("\n")
    assert len(lines) == 10
    assert lines[-1] == "last"
    assert lines[0] == "red�"
    assert files.console_tail("nobody") == ""


def read(files: VmFiles, offset: int) -> tuple[int, int, bytes]:
    part = files.console("r1", offset)
    return part.offset, part.next, base64.b64decode(part.data)


def test_a_console_is_read_piece_by_piece_from_either_end(files: VmFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Path(files.prepare("r1", CACHED, 0).console)
    console.write_bytes(b"0123456789")
    monkeypatch.setattr("wnodes.hypervisor.files.CONSOLE_PIECE", 4)
    assert read(files, 0) == (0, 4, b"0123")
    assert read(files, 8) == (8, 10, b"89")
    assert read(files, 10) == (10, 10, b"")
    assert read(files, -3) == (7, 10, b"789")
    assert read(files, -99) == (0, 4, b"0123")
    assert read(files, 99) == (0, 4, b"0123")


def test_a_console_that_went_with_its_vm_is_not_found(files: VmFiles) -> None:
    with pytest.raises(NotFoundError, match="it goes with its VM"):
        files.console("r1", 0)
