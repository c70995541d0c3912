# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's memory stream without the pages that hold only zeros.

The guest's memory is shared with virtiofsd, so that QEMU's *looking* whether such a page is zero makes the page: each
restored guest would take all its memory of the host, and time for it. Memory of a new QEMU is zero anyway.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from ..model.errors import ImageError

_MAGIC = struct.pack(">II", 0x5145564D, 3)
_CONFIGURATION, _START, _PART, _END, _FOOTER, _COMMAND = 0x07, 0x01, 0x02, 0x03, 0x7E, 0x08
#: QEMU 10 says with it that the guest has stopped and all that is left comes
_SWITCHOVER = 0x0B
_ZERO, _MEM_SIZE, _PAGE, _EOS, _CONTINUE = 0x02, 0x04, 0x08, 0x10, 0x20
_FLAGS = 0xFFF
_PAGE_SIZE = 4096
#: the block of the guest's own memory; others (firmware, video) may not be zero in a new QEMU
_GUEST = b"pc.ram"


def make_lean(path: str, offset: int) -> int:
    """Write the file ``path`` anew, its stream begins at ``offset``; return the number of pages left out.

    :raises ImageError: it is not written as QEMU 7.2 and 10.0 write it, and stays as it is
    """
    lean = path + ".lean"
    try:
        with open(path, "rb") as source, open(lean, "wb") as target:
            target.write(source.read(offset))
            dropped = without_zero_pages(source, target)
        os.replace(lean, path)
    except ImageError:
        os.unlink(lean)
        raise
    return dropped


def without_zero_pages(source: BinaryIO, target: BinaryIO) -> int:
    """Copy a stream from where ``source`` stands; return the number of pages left out.

    :raises ImageError: it is not written as QEMU 7.2 and 10.0 write it
    """
    return _Copy(source, target).run()


class _Copy:
    def __init__(self, source: BinaryIO, target: BinaryIO) -> None:
        self._source, self._target = source, target
        self._read_block = self._written_block = b""
        self._dropped = 0

    def run(self) -> int:
        if self._pass(len(_MAGIC)) != _MAGIC:
            raise self._bad("no stream of QEMU")
        kind = self._pass(1)[0]
        if kind == _CONFIGURATION:
            self._pass(struct.unpack(">I", self._pass(4))[0])
            kind = self._pass(1)[0]
        if kind != _START:
            raise self._bad(f"begins with a section of kind {kind}")
        section = self._pass(4)
        name = self._pass(self._pass(1)[0])
        self._pass(8)
        if name != b"ram":
            raise self._bad(f"begins with {name!r}")
        while True:
            self._records()
            if self._pass(1)[0] != _FOOTER or self._pass(4) != section:
                raise self._bad("a section has no footer")
            if kind == _END:
                break
            kind = self._next()
            if kind not in (_PART, _END) or self._pass(4) != section:
                raise self._bad(f"has a section of kind {kind} in the memory")
        while True:
            piece = self._source.read(1 << 20)
            if not piece:
                return self._dropped
            self._target.write(piece)

    def _next(self) -> int:
        kind = self._pass(1)[0]
        while kind == _COMMAND:
            command, length = struct.unpack(">HH", self._pass(4))
            if command != _SWITCHOVER:
                raise self._bad(f"has command {command} in the memory")
            self._pass(length)
            kind = self._pass(1)[0]
        return kind

    def _records(self) -> None:
        while True:
            (word,) = struct.unpack(">Q", self._take(8))
            offset, flags = word & ~_FLAGS, word & _FLAGS
            if flags == _EOS:
                self._target.write(struct.pack(">Q", word))
                return
            if flags == _MEM_SIZE:
                self._target.write(struct.pack(">Q", word))
                self._blocks(offset)
                continue
            if not flags & _CONTINUE:
                self._read_block = self._take(self._take(1)[0])
            if flags & ~_CONTINUE == _PAGE:
                content = self._take(_PAGE_SIZE)
            elif flags & ~_CONTINUE == _ZERO:
                content = self._take(1)
                if self._read_block == _GUEST and content == b"\0":
                    self._dropped += 1
                    continue
            else:
                raise self._bad(f"has a page of kind {flags:#x}")
            self._write_page(offset | flags & ~_CONTINUE, content)

    def _write_page(self, word: int, content: bytes) -> None:
        if self._written_block == self._read_block:
            self._target.write(struct.pack(">Q", word | _CONTINUE) + content)
        else:
            name = self._written_block = self._read_block
            self._target.write(struct.pack(">QB", word, len(name)) + name + content)

    def _blocks(self, total: int) -> None:
        while total > 0:
            self._pass(self._pass(1)[0])
            total -= struct.unpack(">Q", self._pass(8))[0]

    def _pass(self, size: int) -> bytes:
        data = self._take(size)
        self._target.write(data)
        return data

    def _take(self, size: int) -> bytes:
        data = self._source.read(size)
        if len(data) != size:
            raise self._bad("ends in the middle")
        return data

    @staticmethod
    def _bad(reason: str) -> ImageError:
        return ImageError(object="memory of a saved domain", reason=reason)
