# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image files from outside: tools get a format, copies are exact and sparse, replacements are whole."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from wnodes.image.disk import DiskTools, HashedFile, clone, copy, sha256, write_atomically


def test_an_overlay_is_made_beside_its_disk_committed_when_asked_and_always_removed(tmp_path: Path) -> None:
    seen: list[list[str]] = []
    tools = DiskTools(run=lambda argv: seen.append(list(argv)))
    disk = str(tmp_path / "disk")
    with tools.overlay(disk, "raw") as overlay:
        assert Path(overlay.path).parent.parent == tmp_path
        overlay.commit()
    assert seen == [
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", disk, overlay.path],
        ["qemu-img", "commit", "-q", "-f", "qcow2", overlay.path],
    ]
    assert os.listdir(tmp_path) == []


def test_conversion_names_both_formats() -> None:
    seen: list[Sequence[str]] = []
    DiskTools(run=seen.append).to_qcow2("a", "raw", "b")
    assert seen == [["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", "a", "b"]]


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * (5 << 20), b"a" * (1 << 20) + b"\0" * (3 << 20) + b"end"])
def test_a_copy_is_exact_keeps_holes_and_says_its_digest(tmp_path: Path, content: bytes) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(content)
    digest = copy(str(source), str(target))
    assert target.read_bytes() == content
    assert digest == sha256(str(target)) == hashlib.sha256(content).hexdigest()
    if len(content) > 1 << 20:
        assert target.stat().st_blocks * 512 < len(content)


def test_a_copy_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"new")
    (tmp_path / "target").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        copy(str(tmp_path / "source"), str(tmp_path / "target"))


def test_a_file_is_replaced_whole_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(str(path), b"one", 0o640)
    assert path.stat().st_mode & 0o777 == 0o640

    def fail(_old: str, _new: str) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", fail)
        with pytest.raises(OSError, match="disk full"):
            write_atomically(str(path), b"two")
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["file"]


def feed(content: bytes, most: int = 1 << 30) -> Callable[[memoryview], int]:
    """Return what gives ``content`` to a buffer, at most ``most`` bytes at a time."""
    stream = io.BytesIO(content)

    def fill(view: memoryview) -> int:
        return stream.readinto(view[:most])

    return fill


def test_a_file_is_gone_on_with_behind_what_it_holds_and_its_digest_counts_all(tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000
    path = tmp_path / "file"
    path.write_bytes(content[:1_500_000])
    with HashedFile(str(path)) as file:
        assert file.size == 1_500_000
        fill = feed(content[1_500_000:], 1000)
        while file.append(fill):
            pass
        assert file.finish() == hashlib.sha256(content).hexdigest()
    assert path.read_bytes() == content


def test_a_file_that_is_started_again_holds_nothing_of_before(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old" * 1000)
    with HashedFile(str(path)) as file:
        file.append(feed(b"more"))
        file.restart()
        assert path.stat().st_size == 0
        file.append(feed(b"new"))
        assert file.finish() == hashlib.sha256(b"new").hexdigest()
    assert path.read_bytes() == b"new"


def test_a_disk_that_takes_half_a_piece_is_given_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, content = os.write, bytes(range(256)) * 2000
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[: len(data) // 2 + 1]))
    with HashedFile(str(tmp_path / "file")) as file:
        file.append(feed(content))
        file.finish()
    assert (tmp_path / "file").read_bytes() == content


def test_writing_to_the_disk_begins_before_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _file, offset, length, _advice: begun.append((offset, length)))
    (tmp_path / "source").write_bytes(b"x" * (20 << 20))
    copy(str(tmp_path / "source"), str(tmp_path / "target"))
    assert begun == [(0, 8 << 20), (8 << 20, 8 << 20)]


def test_holes_are_neither_read_nor_written_when_a_file_is_cloned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as stream:
        stream.truncate(200 << 30)
        stream.seek(100 << 30)
        stream.write(b"data" * 1000)
    read: list[int] = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, at: read.append(size) or real(file, size, at))
    told: list[tuple[int, int | None]] = []
    clone(str(source), str(target), lambda done, total: told.append((done, total)))
    assert sum(read) < 1 << 20
    assert target.stat().st_size == 200 << 30
    assert target.stat().st_blocks == source.stat().st_blocks
    with target.open("rb") as stream:
        stream.seek(100 << 30)
        assert stream.read(4001) == b"data" * 1000 + b"\0"
    assert told[-1][0] == told[-1][1]


def test_a_file_without_holes_is_cloned_whole_and_no_file_is_overwritten(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * 9000)
    clone(str(source), str(target), lambda _done, _total: None)
    assert target.read_bytes() == source.read_bytes()
    with pytest.raises(FileExistsError):
        clone(str(source), str(target), lambda _done, _total: None)
