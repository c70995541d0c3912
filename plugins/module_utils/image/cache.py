# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor's copies of images: verified while copied, complete or not there, read-only, checked before use."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
from typing import Dict, Iterator, Optional, Tuple

from ..model.clock import Failpoints
from ..model.errors import ImageError, UnavailableError
from ..model.image import Artefact, CachedImage, Image
from .disk import READABLE, copy, sha256, sync
from .header import check_header

_SCHEME = "file://"
#: size, mtime (ns), inode of a file when its digest was last found right
_Seen = Tuple[int, int, int]


class ImageCache:
    """Images by digest under ``root``. Safe for any number of threads and processes.

    The first use of an image in a process reads all of it; later ones compare size, time stamp and inode.
    """

    def __init__(self, root: str, failpoints: Optional[Failpoints] = None) -> None:
        self._root = root
        self._failpoints = failpoints or Failpoints()
        self._guard = threading.Lock()
        self._locks: Dict[str, threading.Lock] = {}
        self._seen: Dict[str, _Seen] = {}

    def ensure(self, image: Image) -> CachedImage:
        """Return ``image`` with all its files here, fetching it if it is missing or damaged. Others wait for one copy.

        :raises UnavailableError: the source or this disk can't be read or written now
        :raises ImageError: what the source holds is not this image
        """
        try:
            cached = self._cached(image)
            os.makedirs(self._root, exist_ok=True)
            with self._locked(image.digest):
                if not self._good(cached):
                    self._fetch(cached)
                return cached
        except OSError as error:
            raise UnavailableError(object=f"image cache {self._root}", value=image.digest, reason=str(error)) from error

    def _cached(self, image: Image) -> CachedImage:
        if len(image.digest) != 64 or not all(letter in "0123456789abcdef" for letter in image.digest):
            raise ImageError(object="image", value=repr(image.digest), reason="its digest is not a sha256 in hex")
        folder = os.path.join(self._root, image.digest)
        return CachedImage(
            image,
            os.path.join(folder, f"disk.{image.format}"),
            os.path.join(folder, "vmlinuz"),
            os.path.join(folder, "initrd"),
        )

    @contextlib.contextmanager
    def _locked(self, digest: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(digest, threading.Lock())
        with lock, open(os.path.join(self._root, f".{digest}.lock"), "w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _parts(cached: CachedImage) -> Tuple[Tuple[str, Artefact], ...]:
        image = cached.image
        return (cached.disk, image.disk), (cached.kernel, image.kernel), (cached.initrd, image.initrd)

    def _good(self, cached: CachedImage) -> bool:
        """Return whether every file is here and what it must be."""
        for path, artefact in self._parts(cached):
            try:
                seen = _look(path)
            except FileNotFoundError:
                return False
            if self._seen.get(path) == seen:
                continue
            if sha256(path) != artefact.digest:
                return False
            self._seen[path] = seen
        return True

    def _fetch(self, cached: CachedImage) -> None:
        """Copy the image in; whoever calls holds its lock, so what lies about half done is nobody's."""
        image = cached.image
        final = os.path.dirname(cached.disk)
        prefix = f".{image.digest}.tmp-"
        for name in os.listdir(self._root):
            if name.startswith(prefix):
                shutil.rmtree(os.path.join(self._root, name), ignore_errors=True)
        folder = tempfile.mkdtemp(prefix=prefix, dir=self._root)
        try:
            for path, artefact in self._parts(cached):
                self._copy(artefact, os.path.join(folder, os.path.basename(path)), image.digest)
            header = check_header(os.path.join(folder, os.path.basename(cached.disk)), image.format)
            if header.virtual_size != image.virtual_size:
                raise ImageError(
                    object=f"image {image.digest}",
                    value=f"{header.virtual_size} bytes",
                    reason=f"its virtual size is not the {image.virtual_size} bytes that were announced",
                )
            os.chmod(folder, READABLE)
            sync(folder)
            self._failpoints.hit("cache.before_rename")
            if os.path.isdir(final):  # damaged; a VM that runs from it keeps its open file
                damaged = f"{folder}-damaged"
                os.rename(final, damaged)
                shutil.rmtree(damaged, ignore_errors=True)
            os.rename(folder, final)
            sync(self._root)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        for path, _artefact in self._parts(cached):
            self._seen[path] = _look(path)

    def _copy(self, artefact: Artefact, target: str, digest: str) -> None:
        source = artefact.location[len(_SCHEME) :] if artefact.location.startswith(_SCHEME) else artefact.location
        if not os.path.isabs(source):
            raise ImageError(
                object=f"image {digest}",
                value=artefact.location,
                reason="its location is neither an absolute path nor file://",
            )
        found = copy(source, target)
        if found != artefact.digest:
            raise ImageError(
                object=f"image {digest}",
                value=artefact.location,
                reason=f"damaged: sha256 is {found}, must be {artefact.digest}",
                hint="publish the image again",
            )
        os.chmod(target, 0o444)
        sync(target)
        self._failpoints.hit("cache.copied")


def _look(path: str) -> _Seen:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ino
