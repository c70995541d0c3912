# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work on image files from outside: overlays, conversion, digests, durable writes. QEMU's tools always get a format."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from typing import Callable, Iterator, Sequence

from ..process import run

_CHUNK = 1 << 20
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


def copy(source: str, target: str) -> str:
    """Copy a file, holes kept, durable when this returns; return its sha256 (hex)."""
    digest = hashlib.sha256()
    with open(source, "rb") as reader, open(target, "xb") as writer:
        for chunk in iter(lambda: reader.read(_CHUNK), b""):
            digest.update(chunk)
            if chunk.count(0) == len(chunk):
                writer.seek(len(chunk), os.SEEK_CUR)
            else:
                writer.write(chunk)
        writer.truncate()
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def sha256(path: str) -> str:
    """Return the sha256 (hex) of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(_CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


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
