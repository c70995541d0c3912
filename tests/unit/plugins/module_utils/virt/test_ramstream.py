# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What QEMU reads is the same memory, written shorter; what is not known is never guessed."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest

from wnodes.model.errors import ImageError
from wnodes.virt.ramstream import make_lean, without_zero_pages

DATA = bytes(range(256)) * 16
BEGIN = struct.pack(">II", 0x5145564D, 3)
CONFIGURATION = b"\x07" + struct.pack(">I", 10) + b"pc-q35-7.2"
FOOT = struct.pack(">QBI", 0x10, 0x7E, 2)
START = b"\x01" + struct.pack(">IB", 2, 3) + b"ram" + struct.pack(">II", 0, 4)
BLOCKS = struct.pack(">QB", 0x6000 | 4, 6) + b"pc.ram" + struct.pack(">QB", 0x4000, 7) + b"pc.bios"
BLOCKS += struct.pack(">Q", 0x2000) + FOOT
PART, END = b"\x02" + struct.pack(">I", 2), b"\x03" + struct.pack(">I", 2)
DEVICES = b"\x04 and what the devices are"


def page(offset: int, data: bytes, block: bytes = b"") -> bytes:
    """Return a record as QEMU writes it: one byte stands for a page of it; no block is the one before."""
    flags = (0x02 if len(data) == 1 else 0x08) | (0 if block else 0x20)
    return struct.pack(">Q", offset | flags) + (bytes([len(block)]) + block if block else b"") + data


def stream(*records: bytes, configuration: bytes = CONFIGURATION) -> bytes:
    first, *others = records
    body = b"".join(others)
    return BEGIN + configuration + START + BLOCKS + PART + first + FOOT + END + body + FOOT + DEVICES


def lean(written: bytes) -> tuple[int, bytes]:
    target = io.BytesIO()
    return without_zero_pages(io.BytesIO(written), target), target.getvalue()


@pytest.mark.parametrize("configuration", [CONFIGURATION, b""])
def test_zero_pages_of_the_guest_are_left_out(configuration: bytes) -> None:
    zeros = (page(0, b"\0", b"pc.ram"), page(0x1000, b"\0"), page(0x2000, DATA), page(0x3000, b"\0"))
    kept = page(0x2000, DATA, b"pc.ram")
    dropped, found = lean(stream(b"".join(zeros), page(0, b"\0"), configuration=configuration))
    assert dropped == 4
    assert found == stream(kept, b"", configuration=configuration)


def test_a_page_whose_blocks_first_page_is_left_out_names_its_block() -> None:
    before = page(0, DATA, b"pc.bios") + page(0, b"\0", b"pc.ram") + page(0x1000, DATA)
    _dropped, found = lean(stream(before, page(0x2000, DATA)))
    assert found == stream(page(0, DATA, b"pc.bios") + page(0x1000, DATA, b"pc.ram"), page(0x2000, DATA))


def test_a_block_that_was_only_left_out_in_between_is_not_named_again() -> None:
    before = page(0, DATA, b"pc.bios") + page(0, b"\0", b"pc.ram") + page(0x1000, DATA, b"pc.bios")
    assert lean(stream(before))[1] == stream(page(0, DATA, b"pc.bios") + page(0x1000, DATA))


def test_other_memory_is_written_even_where_it_is_zero() -> None:
    written = stream(page(0, b"\0", b"pc.bios") + page(0, b"\x01", b"pc.ram"), page(0x1000, DATA))
    assert lean(written) == (0, written)


SWITCHOVER = b"\x08" + struct.pack(">HH", 11, 0)


def test_that_the_guest_has_stopped_is_told_on() -> None:
    written = stream(page(0, DATA, b"pc.ram")).replace(FOOT + END, FOOT + SWITCHOVER + END)
    assert lean(written) == (0, written)


GOOD = stream(page(0, DATA, b"pc.ram"))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"", "ends in the middle"),
        (b"\0" * 100, "no stream"),
        (GOOD.replace(b"\x03ram", b"\x03rom"), "begins with b'rom'"),
        (BEGIN + b"\x04" + GOOD[8:], "kind 4"),
        (GOOD[: -len(DEVICES) - 1], "ends in the middle"),
        (GOOD.replace(FOOT + END, FOOT + b"\x04" + END[1:]), "kind 4 in the memory"),
        (GOOD.replace(FOOT + END, FOOT + b"\x08" + struct.pack(">HH", 3, 4) + END), "command 3"),
        (GOOD.replace(FOOT, FOOT[:8] + b"\x7d" + FOOT[9:]), "no footer"),
        (GOOD.replace(page(0, DATA, b"pc.ram"), struct.pack(">Q", 0x40 | 0x20)), "page of kind 0x60"),
    ],
)
def test_what_is_not_known_is_refused(written: bytes, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        lean(written)


def test_a_file_is_made_lean_in_place_or_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    path.write_bytes(b"head" + stream(page(0, b"\0", b"pc.ram")))
    assert make_lean(str(path), 4) == 1
    assert path.read_bytes() == b"head" + stream(b"")
    path.write_bytes(b"unknown")
    with pytest.raises(ImageError):
        make_lean(str(path), 4)
    assert path.read_bytes() == b"unknown"
    assert list(tmp_path.iterdir()) == [path]
