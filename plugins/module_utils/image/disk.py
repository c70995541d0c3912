# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work on image files from outside: overlays, conversion, digests, durable writes. QEMU's tools always get a format."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import shutil
import tempfile
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Callable, Deque, Iterator, Optional, Sequence, Tuple

from ..process import run

#: bytes hashed at once: big enough for threads not to disturb each other, small enough for the processor's cache
_PIECE = 1 << 20
#: bytes per system call (more takes up to four times as long: seen) and of a hole
_GRAIN = 128 << 10
_ZEROS = bytes(_GRAIN)
#: bytes after which writing to the disk begins
_FLUSH = 8 << 20
#: folders of images: QEMU, which is not root, has to look inside
READABLE = 0o755


def _run(argv: Sequence[str]) -> None:
    run(argv, timeout=1800)


@dataclass(frozen=True)
class Overlay:
    """A qcow2 file that takes the writes meant for ``disk``."""

    path: str
    _commit: Callable[[], None]

    def commit(self) -> None:
        """Write what was collected into the disk."""
        self._commit()


@dataclass(frozen=True)
class DiskTools:
    """qemu-img, through the injected runner."""

    run: Callable[[Sequence[str]], None] = _run

    @contextlib.contextmanager
    def overlay(self, disk: str, format: str) -> Iterator[Overlay]:
        """Give an overlay beside ``disk``; it is gone afterwards, so what was not committed never happened."""
        folder = tempfile.mkdtemp(prefix=".wnodes-overlay-", dir=os.path.dirname(os.path.abspath(disk)))
        path = os.path.join(folder, "overlay.qcow2")
        try:
            self.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", format, "-b", os.path.abspath(disk), path])
            yield Overlay(path, lambda: self.run(["qemu-img", "commit", "-q", "-f", "qcow2", path]))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def to_qcow2(self, source: str, format: str, target: str) -> None:
        """Write ``source`` as a new, compact qcow2 file ``target``; the same content gives the same bytes."""
        self.run(["qemu-img", "convert", "-q", "-f", format, "-O", "qcow2", source, target])


#: the real ones
TOOLS = DiskTools()


class HashedFile:
    """A file that is written front to back, holes kept, while a second thread computes its sha256.

    What ``path`` holds already is read once and counted in: writing goes on behind it. (hashlib lets other threads
    run while it works on a big piece, so hashing costs no time of its own where there is a second core.)
    """

    def __init__(self, path: str, new: bool = False) -> None:
        """Open ``path``; ``new``: FileExistsError where it exists."""
        self.size = 0
        self._flushed = 0
        self._sha256 = hashlib.sha256()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | (os.O_EXCL if new else 0), 0o644)
        self._hasher = ThreadPoolExecutor(1)
        # Three: one is filled, one waits, so that the hashing thread always has its next piece.
        idle = self._hasher.submit(lambda: None)
        self._pieces: Deque[Tuple[bytearray, Future[None]]] = deque((bytearray(_PIECE), idle) for _count in range(3))
        try:
            while self._take(functools.partial(read_into, self._descriptor)):
                pass
        except BaseException:
            self.__exit__()
            raise
        self._flushed = self.size

    def __enter__(self) -> HashedFile:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._hasher.shutdown()
        os.close(self._descriptor)

    def append(self, fill: Callable[[memoryview], int]) -> int:
        """Write what ``fill`` puts into the buffer it is given; return how many bytes that were (0: no more)."""
        size = self._take(fill)
        self._write(self._pieces[-1][0], size)
        if self.size - self._flushed >= _FLUSH:
            # Starts writing to the disk now, so that the sync at the end finds little left to do.
            os.posix_fadvise(self._descriptor, self._flushed, self.size - self._flushed, os.POSIX_FADV_DONTNEED)
            self._flushed = self.size
        return size

    def restart(self) -> None:
        """Throw away what was written."""
        self._wait()
        self._sha256 = hashlib.sha256()
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self.size = self._flushed = 0

    def finish(self) -> str:
        """Make what was written durable; return its sha256 (hex)."""
        os.ftruncate(self._descriptor, self.size)
        os.fsync(self._descriptor)
        self._wait()
        return self._sha256.hexdigest()

    def _wait(self) -> None:
        for _buffer, hashed in self._pieces:
            hashed.result()

    def _take(self, fill: Callable[[memoryview], int]) -> int:
        """Fill the oldest buffer, which becomes the newest."""
        buffer, hashed = self._pieces[0]
        hashed.result()
        size = fill(memoryview(buffer))
        self._pieces[0] = buffer, self._hasher.submit(self._sha256.update, memoryview(buffer)[:size])
        self._pieces.rotate(-1)
        self.size += size
        return size

    def _write(self, buffer: bytearray, size: int) -> None:
        for at in range(0, size, _GRAIN):
            if buffer.startswith(_ZEROS, at, size):
                os.lseek(self._descriptor, _GRAIN, os.SEEK_CUR)
                continue
            rest = memoryview(buffer)[at : min(at + _GRAIN, size)]
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]


def read_into(descriptor: int, view: memoryview) -> int:
    """Fill ``view`` from an open file; return how many bytes came (fewer than it takes: the file ends)."""
    size = 0
    while True:
        got = os.readv(descriptor, [view[size : size + _GRAIN]])
        size += got
        if not got or size == len(view):
            return size


def copy(source: str, target: str) -> str:
    """Copy a file, holes kept, durable when this returns; return its sha256 (hex)."""
    with open(source, "rb", buffering=0) as reader, HashedFile(target, new=True) as writer:
        while writer.append(functools.partial(read_into, reader.fileno())):
            pass
        return writer.finish()


def clone(source: str, target: str, progress: Callable[[int, Optional[int]], None]) -> None:
    """Copy a file without reading its holes, durable when this returns.

    :param progress: called with the bytes copied, and the bytes that the disk holds of ``source``
    """
    with open(source, "rb", buffering=0) as reader, open(target, "xb", buffering=0) as writer:
        status = os.fstat(reader.fileno())
        total, done = min(status.st_blocks * 512, status.st_size), 0
        os.ftruncate(writer.fileno(), status.st_size)
        for start, end in _extents(reader.fileno(), status.st_size):
            while start < end:
                data = os.pread(reader.fileno(), min(_PIECE, end - start), start)
                if not data:
                    raise OSError(errno.EIO, "the file became shorter while it was read", source)
                written = os.pwrite(writer.fileno(), data, start)
                start, done = start + written, done + written
                progress(done, max(total, done))
        os.fsync(writer.fileno())


def _extents(descriptor: int, size: int) -> Iterator[Tuple[int, int]]:
    """Give start and end of what a file holds between its holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # nothing but a hole is left
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


def sha256(path: str) -> str:
    """Return the sha256 (hex) of a file."""
    digest, view = hashlib.sha256(), memoryview(bytearray(_PIECE))
    with open(path, "rb", buffering=0) as stream:
        while True:
            size = read_into(stream.fileno(), view)
            if not size:
                return digest.hexdigest()
            digest.update(view[:size])


def sync(path: str) -> None:
    """Make a file's content, or a folder's entries, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: str, content: bytes, mode: int = 0o644) -> None:
    """Replace ``path`` by a file with ``content``: readers see the old or the new one, also after a power cut."""
    folder = os.path.dirname(os.path.abspath(path))
    descriptor, name = tempfile.mkstemp(prefix=".wnodes-", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, mode)
        os.rename(name, path)
    except BaseException:
        os.unlink(name)
        raise
    sync(folder)
