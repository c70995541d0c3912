# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The site's image tags as this node has them: which may boot here, and which are here already."""

from __future__ import annotations

import logging
from typing import Callable, Dict, Optional, Set, Tuple

from ..image.progress import transfer
from ..model.errors import ImageError, RequestError, WnodesError
from ..model.image import Image, Manifest, TagEntry
from ..model.vm import VmRequest
from .api import NodeImage
from .context import HypervisorContext

log = logging.getLogger(__name__)

#: the step of maintenance that brings images here
WARM = ":images"

READY, WAITING, REFUSED, FAILED = "ready", "waiting", "refused", "failed"


class Catalogue:
    """What the nameserver told last, sorted by what this node trusts.

    :param refresh: reads it again now, whatever the outcome
    :param stale: tells whether the nameserver can't be asked now
    """

    def __init__(self, context: HypervisorContext, refresh: Callable[[], None], stale: Callable[[], bool]) -> None:
        self._context, self._refresh, self._stale = context, refresh, stale
        self._entries: Optional[Tuple[TagEntry, ...]] = None
        self._sorted = False
        self._good: Dict[str, Tuple[Manifest, Image]] = {}
        self._refused: Dict[str, str] = {}
        self._failed: Dict[str, str] = {}
        self._ready: Dict[str, str] = {}

    def read(self) -> None:
        """Ask the nameserver; DirectoryError or UnavailableError where it can't be asked."""
        self._entries = self._context.nameserver.tags()

    def sort_out(self) -> None:
        """Verify what was read. A refused image costs its tag only.

        :raises UnavailableError: nothing can be verified here now
        """
        good: Dict[str, Tuple[Manifest, Image]] = {}
        refused: Dict[str, str] = {}
        for entry in self._entries or ():
            release = entry.release_for(self._context.config.host)
            try:
                manifest = self._context.trust.admit(release, entry.tag)
            except ImageError as error:
                refused[entry.tag] = str(error)
            else:
                good[entry.tag] = manifest, manifest.image(release.location)
        self._good, self._refused, self._sorted = good, refused, self._entries is not None
        if any(self._ready.get(tag) != image.digest for tag, (_manifest, image) in good.items()):
            self._context.wake_maintenance(WARM)

    def warm(self) -> None:
        """Bring the images that are not here yet, one after the other, so that no job has to wait for them."""
        for tag, (_manifest, image) in sorted(self._good.items()):
            if self._ready.get(tag) == image.digest:
                continue
            try:
                self._context.images.ensure(image)
            except WnodesError as error:
                if self._failed.get(tag) != str(error):
                    log.warning("image=%s tag=%s can't be made ready: %s", image.digest[:12], tag, error)
                self._failed[tag] = str(error)
            else:
                self._failed.pop(tag, None)
                self._ready[tag] = image.digest
                log.info("image=%s tag=%s is ready", image.digest[:12], tag)

    def distrust(self, digest: str) -> None:
        """Let the image ``digest`` be made ready again: what is here of it is damaged."""
        self._ready = {tag: ready for tag, ready in self._ready.items() if ready != digest}
        self._context.wake_maintenance(WARM)

    @property
    def known(self) -> bool:
        """Whether the site's tags have been read and sorted out since the start."""
        return self._sorted

    def ready(self) -> Dict[str, Image]:
        """Return the images that are here and may boot, by tag."""
        return {tag: image for tag, (_manifest, image) in self._good.items() if self._ready.get(tag) == image.digest}

    def image(self, tag: str) -> Optional[Image]:
        """Return the image of a tag, here or not; None where it is not known."""
        return self._good[tag][1] if tag in self._good else None

    @property
    def digests(self) -> Set[str]:
        """The images that may boot here."""
        return {image.digest for _manifest, image in self._good.values()}

    @property
    def tags(self) -> Tuple[str, ...]:
        """The tags whose images may boot here."""
        return tuple(sorted(self._good))

    def images(self) -> Tuple[NodeImage, ...]:
        """Return how each tag stands here, by name."""
        found, under_way = {}, self._context.images.progress()
        for tag, (manifest, image) in self._good.items():
            ready, failed = self._ready.get(tag) == image.digest, self._failed.get(tag, "")
            state = READY if ready else FAILED if failed else WAITING
            done = under_way.get(image.digest)
            progress = transfer(*done) if done and not ready else ""
            found[tag] = NodeImage(tag, image.digest, manifest.version, state, "" if ready else failed, progress)
        for tag, reason in self._refused.items():
            found[tag] = NodeImage(tag, "", 0, REFUSED, reason)
        return tuple(found[tag] for tag in sorted(found))

    def check(self, request: VmRequest) -> None:
        """Raise RequestError where the image of ``request`` can't be had here, as far as that is known."""
        tag, what = request.tag, f"VM request {request.id}"
        if self._entries is not None and tag not in self._good:
            self._refresh()  # it may have been published a moment ago
        if tag in self._refused:
            raise RequestError(object=what, value=tag, reason=self._refused[tag])
        if tag in self._good:
            allowed = self._good[tag][0].allowed
            if request.owner and not allowed.admits(request.owner, request.groups):
                raise RequestError(
                    object=what,
                    value=tag,
                    reason=f"{request.owner} may not use this image",
                    hint=f"it is for {allowed}",
                )
        elif self._entries is not None and not self._stale():
            raise RequestError(
                object=what,
                value=tag,
                reason="no image has this tag",
                hint=f"known: {', '.join(self.tags) or 'none'}",
            )
