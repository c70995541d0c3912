# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate: only plain, self-contained images of the format they are labelled with."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.image.image_fixture import qcow2
from wnodes.image.header import Header, check_header
from wnodes.model.errors import ImageError


def extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">II", kind, len(data)) + data.ljust((len(data) + 7) // 8 * 8, b"\0")


def write(folder: Path, content: bytes) -> str:
    path = folder / "image"
    path.write_bytes(content)
    return str(path)


def patched(offset: int, format: str, value: int) -> bytes:
    """Return a plain qcow2 with one field of its header set."""
    content = bytearray(qcow2())
    struct.pack_into(format, content, offset, value)
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        qcow2(5 << 30),
        qcow2(5 << 30, version=2),
        qcow2(5 << 30, features=1 << 4),
        qcow2(5 << 30, header_length=112),
        qcow2(5 << 30, extensions=extension(0x6803F857, b"\0\0dirty bit".ljust(48, b"\0")) + extension(0, b"")),
    ],
)
def test_a_plain_qcow2_passes_with_its_virtual_size(tmp_path: Path, content: bytes) -> None:
    assert check_header(write(tmp_path, content), "qcow2") == Header("qcow2", 5 << 30)


def test_a_plain_raw_passes_with_its_size(tmp_path: Path) -> None:
    assert check_header(write(tmp_path, b"\0" * 4096), "raw") == Header("raw", 4096)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (qcow2(backing=512), "backing file"),
        (qcow2(version=2, backing=512), "backing file"),
        (qcow2(features=1 << 2), "data is in another file"),
        (qcow2(features=1), "dirty"),
        (qcow2(features=2), "corrupt"),
        (qcow2(features=1 << 40), "unknown incompatible feature 40"),
        (qcow2(extensions=extension(0x44415441, b"/etc/shadow")), "external data file"),
        (qcow2(version=2)[:72] + extension(0x44415441, b"x") + b"\0" * 99, "external data"),
        (qcow2(extensions=struct.pack(">II", 7, 1 << 31)), "cut off"),
        (qcow2(crypt=2), "encrypted"),
        (qcow2(snapshots=1), "snapshots"),
        (qcow2(version=4), "version"),
        (qcow2(cluster_bits=30), "cluster size"),
        (qcow2(header_length=100), "header length"),
        (qcow2()[:80], "cut off"),
        (qcow2()[:196608], "L1 table is not in the file"),
        (patched(40, ">Q", 1 << 62), "L1 table is not in the file"),
        (patched(40, ">Q", 65537), "L1 table is not in the file"),
        (patched(36, ">I", (1 << 32) - 1), "L1 table is not in the file"),
        (patched(36, ">I", 1), "L1 table is too small"),
        (patched(72, ">Q", 1 << 4), "L1 table is too small"),
        (patched(24, ">Q", (1 << 64) - 1), "L1 table is too small"),
        (patched(56, ">I", 1 << 30), "refcount table is not in the file"),
        (qcow2(cluster_bits=21, extensions=extension(7, b"x" * 65424) + extension(0x44415441, b"x")), "do not end"),
        (b"", "is not"),
        (b"\0" * 4096, "is not"),
        (b"QED\0" + b"\0" * 4096, "is not"),
    ],
)
def test_a_qcow2_that_is_more_or_less_than_plain_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        check_header(write(tmp_path, content), "qcow2")
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (qcow2(), "qcow2"),
        (b"QED\0", "QED"),
        (b"KDMV", "VMDK"),
        (b'# Disk DescriptorFile\nRW 1 FLAT "/etc/shadow" 0', "VMDK"),
        (b'# anything\n\n  \r\nversion=1\nRW 1 FLAT "/etc/shadow" 0', "VMDK"),
        (b"vhdxfile", "VHDX"),
        (b"conectix", "VHD"),
        (b"LUKS\xba\xbe", "LUKS"),
        (b"\0" * 64 + b"\x7f\x10\xda\xbe", "VDI"),
        (b"\0" * 1024 + b"conectix".ljust(512, b"\0"), "VHD"),
        (b"\0" * 1024 + b"koly".ljust(512, b"\0"), "DMG"),
    ],
)
def test_a_raw_image_must_not_look_like_another_format(tmp_path: Path, content: bytes, name: str) -> None:
    with pytest.raises(ImageError) as caught:
        check_header(write(tmp_path, content), "raw")
    assert caught.value.value == name


def test_other_formats_and_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="not one we take"):
        check_header(write(tmp_path, b"KDMV"), "vmdk")
    with pytest.raises(ImageError, match="can't be read"):
        check_header(str(tmp_path / "absent"), "raw")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300), position=st.integers(4, 200))
def test_no_header_makes_the_gate_stumble(tmp_path: Path, content: bytes, position: int) -> None:
    whole = qcow2()
    for data in (content, whole[:position] + content + whole[position + len(content) :]):
        try:
            check_header(write(tmp_path, data), "qcow2")
        except ImageError:
            continue


@pytest.mark.parametrize("named", ["", "/base.qcow2x", "/base", "json:{}", "/etc/shadow"])
def test_a_layer_is_over_the_one_file_it_has_to_be(tmp_path: Path, named: str) -> None:
    def layer(name: str) -> str:
        head = bytearray(qcow2(backing=512 if name else 0))
        struct.pack_into(">I", head, 16, len(name))
        head[512 : 512 + len(name)] = name.encode()
        (tmp_path / "layer").write_bytes(head)
        return str(tmp_path / "layer")

    check_header(layer("/base.qcow2"), "qcow2", backing="/base.qcow2")
    with pytest.raises(ImageError, match=r"must be a layer over /base\.qcow2"):
        check_header(layer(named), "qcow2", backing="/base.qcow2")
