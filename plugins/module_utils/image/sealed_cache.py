# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images as this node boots them: what site and node add is put on once for each image, not for each VM."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
import threading
from dataclasses import replace
from typing import Callable, Collection, Dict, Iterator, List, Protocol, Tuple

from ..model.codec import encode
from ..model.errors import UnavailableError
from ..model.image import CachedImage, Image
from .disk import READABLE, sync
from .recipe.journal_sender import SCRIPT, UNIT
from .recipe.operations import Recipe

log = logging.getLogger(__name__)

_DISK = "disk.qcow2"


class WholeImages(Protocol):
    """Where whole images come from."""

    def ensure(self, image: Image) -> CachedImage:
        """Return the image's files."""

    def scrub(self) -> Tuple[str, ...]:
        """Return what was found damaged."""

    def progress(self) -> Dict[str, Tuple[int, int, float]]:
        """Return what is under way."""


class LayerFactory(Protocol):
    """Makes a layer of changes over a disk; see :class:`layer.LayerMaker`."""

    def make(self, disk: str, format: str, recipe: Recipe, layer: str, accel: str) -> List[str]:
        """Make the layer and return what was done."""


class SealedImageCache:
    """Cached images under one more thin layer each, ``<root>/<digest>/<recipe>/disk.qcow2``.

    :param recipe: what is put on; an empty one needs no layer
    :param accel: what the appliance runs on, asked when one is needed
    :param in_use: digests of images that VMs run from, or may be started from
    """

    def __init__(
        self,
        cache: WholeImages,
        root: str,
        recipe: Recipe,
        maker: LayerFactory,
        accel: Callable[[CachedImage], str],
        in_use: Callable[[], Collection[str]],
    ) -> None:
        self._cache, self._root, self._recipe = cache, root, recipe
        self._maker, self._accel, self._in_use = maker, accel, in_use
        text = json.dumps(encode(recipe), sort_keys=True)
        if recipe.remote_syslog is not None:
            text += SCRIPT + UNIT  # what a layer holds besides what its recipe says
        self._key = hashlib.sha256(text.encode()).hexdigest()[:16] if recipe != Recipe() else ""
        self._guard = threading.Lock()
        self._locks: Dict[str, threading.Lock] = {}
        # one appliance at a time is enough work for a node that runs jobs
        self._making = threading.Lock()

    def ensure(self, image: Image) -> CachedImage:
        """Return the image with its layer, made first where it is missing.

        :raises ImageError: it is not what it must be, or the recipe does not fit it
        :raises UnavailableError: it can't be fetched, or no layer can be made now
        """
        cached = self._cache.ensure(image)
        if not self._key:
            return cached
        layer = os.path.join(self._root, image.digest, self._key, _DISK)
        try:
            with self._locked(image.digest):
                if not os.path.exists(layer):
                    with self._making:
                        self._make(cached, layer)
        except OSError as error:
            raise UnavailableError(object=f"image {image.digest}", value=self._root, reason=str(error)) from error
        return replace(cached, disk=layer, base=cached.disk)

    def scrub(self) -> Tuple[str, ...]:
        """Read all images that are here again; return the digests of damaged ones, which nobody gets any more."""
        return self._cache.scrub()

    def progress(self) -> Dict[str, Tuple[int, int, float]]:
        """Return bytes here, bytes in all and bytes a second of the images under way, by digest."""
        return self._cache.progress()

    @contextlib.contextmanager
    def _locked(self, digest: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(digest, threading.Lock())
        with lock:
            yield

    def _make(self, cached: CachedImage, layer: str) -> None:
        folder = os.path.dirname(layer)
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        self._prune(cached.image.digest)
        fresh = tempfile.mkdtemp(prefix=".new-", dir=os.path.dirname(folder))
        try:
            os.chmod(fresh, READABLE)
            made = os.path.join(fresh, _DISK)
            done = self._maker.make(cached.disk, cached.format, self._recipe, made, self._accel(cached))
            os.chmod(made, 0o444)
            sync(made)
            sync(fresh)
            os.rename(fresh, folder)
            sync(os.path.dirname(folder))
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        log.info("image=%s sealed for this node: %s", cached.image.digest[:12], "; ".join(done) or "nothing to change")

    def _prune(self, digest: str) -> None:
        """Remove layers that no VM runs from and no VM will start from: of other recipes, of images that went."""
        used = set(self._in_use())
        for name in os.listdir(self._root):
            for key in os.listdir(os.path.join(self._root, name)):
                if name not in used and (name != digest or key != self._key):
                    shutil.rmtree(os.path.join(self._root, name, key), ignore_errors=True)
            with contextlib.suppress(OSError):
                if name != digest:
                    os.rmdir(os.path.join(self._root, name))
