# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor's copies of images: verified while fetched, complete or not there, read-only, checked before use.

Below the root: ``<digest>/`` holds a whole image, ``.<digest>.partial/`` what was fetched of one so far,
``.trash-…/`` what is being removed, ``.<name>.lock`` the locks between processes.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import shutil
import tempfile
import threading
from dataclasses import dataclass
from typing import Callable, Collection, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..model.clock import Clock, Failpoints
from ..model.errors import ImageError, NotFoundError, StateError, UnavailableError, WnodesError
from ..model.image import Artefact, CachedImage, Image
from .disk import READABLE, sha256, sync, write_atomically
from .fetch import fetch
from .header import check_header

log = logging.getLogger(__name__)

_MIB = 1 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_ENTRY = re.compile(r"(?:([0-9a-f]{64})|\.([0-9a-f]{64})\.partial)\Z")
_TRASH = ".trash-"
#: digests of an image's files, as sha256sum writes and checks them
_SUMS = "SHA256SUMS"
#: bytes a kernel or an initrd may have: nobody announces theirs
_BOOT_LIMIT = 1 << 30
#: seconds: use is recorded no more often
_USED_S = 60.0
#: size, mtime (ns), inode of a file when its digest was last found right
_Seen = Tuple[int, int, int]


class CacheEntry(NamedTuple):
    """An image that is here: bytes it takes on this disk, when it was last used (seconds since the epoch)."""

    digest: str
    size: int
    used: float
    in_use: bool


@dataclass(frozen=True)
class _Entry:
    """A folder below the root that takes room."""

    digest: str
    path: str
    whole: bool
    size: int
    used: float


class ImageCache:
    """Images by digest under ``root``. Safe for any number of threads and processes.

    The first use of an image in a process reads all of it; later ones compare size, time stamp and inode.
    """

    def __init__(
        self,
        root: str,
        failpoints: Optional[Failpoints] = None,
        *,
        limit_mib: int = 0,
        in_use: Optional[Callable[[], Collection[str]]] = None,
        clock: Optional[Clock] = None,
    ) -> None:
        """Make a cache; nothing is touched yet.

        :param limit_mib: MiB that images may take on this disk; 0: any
        :param in_use: gives the digests that must stay; it is asked with locks held and must not call the cache.
            Who is about to use an image has to be in its answer *before* calling :meth:`ensure`.
        """
        self._root = root
        self._failpoints = failpoints or Failpoints()
        self._limit = limit_mib * _MIB
        self._in_use = in_use or tuple
        self._clock = clock or Clock()
        self._guard = threading.Lock()
        self._prewarming = threading.Lock()
        self._locks: Dict[str, threading.Lock] = {}
        self._seen: Dict[str, _Seen] = {}
        self._announced: Dict[str, int] = {}
        self._under_way: Dict[str, Tuple[int, int, float]] = {}

    def ensure(self, image: Image) -> CachedImage:
        """Return ``image`` with all its files here, fetching it if it is missing or damaged. Others wait for one copy.

        :raises UnavailableError: the source or this disk can't be read or written now, or there is no room
        :raises ImageError: what the source holds is not this image
        """
        return self._ensure(image, (), None)

    def prewarm(self, images: Sequence[Image], stop: threading.Event) -> Tuple[Tuple[str, WnodesError], ...]:
        """Ensure ``images`` one by one until ``stop`` is set; return (digest, error) of those that failed.

        The most important image comes first; no later one pushes it out. One prewarming runs at a time.
        """
        failed = []
        with self._prewarming:
            for index, image in enumerate(images):
                if stop.is_set():
                    break
                try:
                    self._ensure(image, [earlier.digest for earlier in images[:index]], stop)
                except WnodesError as error:
                    log.warning("prewarming image %s: %s", image.digest, error)
                    failed.append((image.digest, error))
        return tuple(failed)

    def progress(self) -> Dict[str, Tuple[int, int, float]]:
        """Return, for each disk that this process fetches now, digest → (bytes here, bytes in all, bytes/s)."""
        with self._guard:
            return dict(self._under_way)

    def contents(self) -> Tuple[CacheEntry, ...]:
        """Return the images that are here whole, the last used first."""
        used = self._in_use()
        with self._disk("contents"):
            entries = sorted((entry for entry in self._entries() if entry.whole), key=lambda entry: -entry.used)
        return tuple(CacheEntry(entry.digest, entry.size, entry.used, entry.digest in used) for entry in entries)

    def verify(self, digest: str) -> bool:
        """Read all of an image again; if it is damaged, its next use fetches it anew, in whatever process.

        :raises NotFoundError: it is not here
        :raises UnavailableError: it can't be read now
        """
        folder = self._folder(digest)
        with self._disk(digest):
            try:
                with open(os.path.join(folder, _SUMS), encoding="utf-8") as stream:
                    sums = [line.split() for line in stream]
                damaged = [name for wanted, name in sums if sha256(os.path.join(folder, name)) != wanted]
            except FileNotFoundError as error:
                raise NotFoundError(object=f"image {digest}", value=str(error.filename), reason="is not here") from None
            for name in damaged:
                log.error("image %s is damaged here: %s", digest, name)
                # Not what anyone has seen: each process reads all of it before its next use.
                os.utime(os.path.join(folder, name))
        return not damaged

    def scrub(self) -> Tuple[str, ...]:
        """Verify every image that is here; return the digests of those that are damaged."""
        damaged = []
        for entry in self.contents():
            with contextlib.suppress(NotFoundError):  # evicted meanwhile
                if not self.verify(entry.digest):
                    log.warning("audit: image=%s is damaged on this disk: it is fetched again", entry.digest)
                    damaged.append(entry.digest)
        return tuple(damaged)

    def evict(self, digest: str) -> int:
        """Remove an image, whole or not; return the bytes this freed (0: it was not here).

        :raises StateError: it is in use
        """
        self._folder(digest)
        with self._disk(digest), self._locked(digest):
            if digest in self._in_use():
                raise StateError(object=f"image {digest}", reason="is in use")
            entries = [entry for entry in self._entries() if entry.digest == digest]
            for entry in entries:
                self._discard(entry.path)
        self._sweep()
        return sum(entry.size for entry in entries)

    def gc(self, keep: Collection[str]) -> Tuple[Tuple[str, int], ...]:
        """Remove all but ``keep``, what is in use and what is fetched now; return (digest, bytes) of what went."""
        with self._disk("clean-up"):
            idle = [entry for entry in self._entries() if entry.digest not in keep]
            gone = tuple((entry.digest, entry.size) for entry in idle if self._drop(entry))
            self._sweep()
        return gone

    def _ensure(self, image: Image, keep: Collection[str], stop: Optional[threading.Event]) -> CachedImage:
        cached = self._cached(image)
        fetched = False
        try:
            with self._disk(image.digest), self._locked(image.digest):
                if not self._good(cached):
                    fetched = True
                    self._fetch(cached, keep, stop)
                self._record_use(os.path.dirname(cached.disk))
        finally:
            if fetched:
                self._sweep()
        return cached

    def _folder(self, digest: str) -> str:
        if not _DIGEST.match(digest):
            raise ImageError(object="image", value=repr(digest), reason="its digest is not a sha256 in hex")
        return os.path.join(self._root, digest)

    def _cached(self, image: Image) -> CachedImage:
        folder = self._folder(image.digest)
        if image.digest != image.disk.digest:
            raise ImageError(
                object=f"image {image.digest}", value=image.disk.digest, reason="its digest is not that of its disk"
            )
        return CachedImage(
            image,
            os.path.join(folder, f"disk.{image.format}"),
            os.path.join(folder, "vmlinuz"),
            os.path.join(folder, "initrd"),
        )

    @contextlib.contextmanager
    def _disk(self, value: str) -> Iterator[None]:
        """Make the root; what this disk says while it works on ``value`` becomes an error of ours."""
        try:
            os.makedirs(self._root, exist_ok=True)
            yield
        except OSError as error:
            raise UnavailableError(object=f"image cache {self._root}", value=value, reason=str(error)) from error

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock, open(os.path.join(self._root, f".{name}.lock"), "w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def _locked_if_free(self, name: str) -> Iterator[bool]:
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        if not lock.acquire(blocking=False):
            yield False
            return
        try:
            with open(os.path.join(self._root, f".{name}.lock"), "w") as stream:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    free = True
                except BlockingIOError:
                    free = False
                yield free
        finally:
            lock.release()

    @staticmethod
    def _parts(cached: CachedImage) -> Tuple[Tuple[str, Artefact, int], ...]:
        """Return path, artefact and most bytes of each file; what nobody announced the size of comes first."""
        image = cached.image
        return (
            (cached.kernel, image.kernel, _BOOT_LIMIT),
            (cached.initrd, image.initrd, _BOOT_LIMIT),
            (cached.disk, image.disk, image.size),
        )

    def _good(self, cached: CachedImage) -> bool:
        """Return whether every file is here and what it must be."""
        if not os.path.exists(os.path.join(os.path.dirname(cached.disk), _SUMS)):
            return False
        for path, artefact, _limit in self._parts(cached):
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

    def _record_use(self, folder: str) -> None:
        now = self._clock.now()
        if abs(now - os.stat(folder).st_mtime) >= _USED_S:
            os.utime(folder, (now, now))

    def _fetch(self, cached: CachedImage, keep: Collection[str], stop: Optional[threading.Event]) -> None:
        """Get the image; whoever calls holds its lock, so what lies about half done is nobody else's."""
        final = os.path.dirname(cached.disk)
        folder = os.path.join(self._root, f".{cached.image.digest}.partial")
        os.makedirs(folder, exist_ok=True)
        try:
            self._fill(folder, cached, keep, stop)
        except ImageError:
            self._discard(folder)
            raise
        finally:
            with self._guard:
                self._announced.pop(cached.image.digest, None)
                self._under_way.pop(cached.image.digest, None)
        self._failpoints.hit("cache.before_rename")
        if os.path.isdir(final):  # damaged; a VM that runs from it keeps its open file
            self._discard(final)
        os.rename(folder, final)
        sync(self._root)
        for path, _artefact, _limit in self._parts(cached):
            self._seen[path] = _look(path)

    def _fill(self, folder: str, cached: CachedImage, keep: Collection[str], stop: Optional[threading.Event]) -> None:
        image = cached.image
        sums = ""
        for path, artefact, limit in self._parts(cached):
            name = os.path.basename(path)
            target = os.path.join(folder, name)
            sums += f"{artefact.digest}  {name}\n"
            if path == cached.disk:
                self._make_room(image, folder, keep)
            if not (os.path.exists(target) and sha256(target) == artefact.digest):
                report = self._reporter(image) if path == cached.disk else None
                fetch(artefact.location, target, artefact.digest, limit=limit, progress=report, stop=stop,
                      clock=self._clock)  # fmt: skip
            os.chmod(target, 0o444)
            sync(target)
            self._failpoints.hit("cache.copied")
        header = check_header(os.path.join(folder, os.path.basename(cached.disk)), image.format)
        if header.virtual_size != image.virtual_size:
            raise ImageError(
                object=f"image {image.digest}",
                value=f"{header.virtual_size} bytes",
                reason=f"its virtual size is not the {image.virtual_size} bytes that were announced",
            )
        write_atomically(os.path.join(folder, _SUMS), sums.encode(), 0o444)
        for name in set(os.listdir(folder)) - {
            _SUMS,
            *(os.path.basename(path) for path, _art, _lim in self._parts(cached)),
        }:
            os.unlink(os.path.join(folder, name))  # a fetch that was killed left it
        os.chmod(folder, READABLE)
        sync(folder)

    def _reporter(self, image: Image) -> Callable[[int, Optional[int]], None]:
        begin: List[Tuple[float, int]] = []

        def report(done: int, total: Optional[int]) -> None:
            now = self._clock.now()
            if not begin or done < begin[0][1]:
                begin[:] = [(now, done)]
            spent = now - begin[0][0]
            rate = (done - begin[0][1]) / spent if spent > 0 else 0.0
            with self._guard:
                self._under_way[image.digest] = (done, image.size if total is None else total, rate)

        return report

    def _make_room(self, image: Image, folder: str, keep: Collection[str]) -> None:
        """Evict what was used least recently until the disk fits, too; nothing if it can't."""
        if not self._limit:
            return
        with self._locked("room"):
            others = [entry for entry in self._entries() if entry.digest != image.digest]
            small = sum(os.path.getsize(os.path.join(folder, name)) for name in ("vmlinuz", "initrd"))
            with self._guard:
                self._announced[image.digest] = image.size + small
                coming = dict(self._announced)
            taken = {entry.digest: 0 for entry in others}
            for entry in others:
                taken[entry.digest] += entry.size
            taken = {digest: max(size, coming.get(digest, 0)) for digest, size in taken.items()}
            excess = sum(taken.values()) + image.size + small - self._limit
            stay = {*self._in_use(), *keep, *coming}
            idle = sorted((entry for entry in others if entry.digest not in stay), key=lambda entry: entry.used)
            if excess <= sum(entry.size for entry in idle):
                for entry in idle:
                    if excess > 0 and self._drop(entry):
                        excess -= entry.size
            if excess > 0:
                raise self._no_room(image, {digest: size for digest, size in taken.items() if digest in stay})
        self._sweep()

    def _no_room(self, image: Image, staying: Dict[str, int]) -> UnavailableError:
        listed = ", ".join(f"{digest} ({size // _MIB} MiB)" for digest, size in sorted(staying.items()))
        return UnavailableError(
            object=f"image {image.digest}",
            value=f"{image.size // _MIB} MiB",
            reason=f"does not fit into the cache of {self._limit // _MIB} MiB; in use: {listed or 'nothing'}",
            hint="raise the limit, or use fewer images at a time",
        )

    def _drop(self, entry: _Entry) -> bool:
        """Take an entry away unless someone works on it or uses it."""
        with self._locked_if_free(entry.digest) as free:
            if not free or entry.digest in self._in_use() or not os.path.isdir(entry.path):
                return False
            self._discard(entry.path)
            log.info("image %s removed from the cache (%d bytes)", entry.digest, entry.size)
            return True

    def _discard(self, path: str) -> None:
        """Put a folder where :meth:`_sweep` removes it: renaming takes no time, removing big files does."""
        os.rename(path, tempfile.mkdtemp(prefix=_TRASH, dir=self._root))

    def _sweep(self) -> None:
        for name in os.listdir(self._root):
            if name.startswith(_TRASH):
                shutil.rmtree(os.path.join(self._root, name), ignore_errors=True)

    def _entries(self) -> List[_Entry]:
        found = []
        for name in os.listdir(self._root):
            match, path = _ENTRY.match(name), os.path.join(self._root, name)
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                if match:
                    size = sum(os.stat(os.path.join(path, file)).st_blocks * 512 for file in os.listdir(path))
                    used = os.stat(path).st_mtime
                    found.append(_Entry(match[1] or match[2], path, bool(match[1]), size, used))
        return found


def _look(path: str) -> _Seen:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ino
