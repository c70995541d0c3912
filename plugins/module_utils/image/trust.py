# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which releases a hypervisor boots: signed by the right one, still good, and not older than what it has seen."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from dataclasses import dataclass
from typing import Dict, Protocol, Tuple

from ..model.codec import decode, encode
from ..model.errors import ConfigError, ImageError, UnavailableError
from ..model.image import Manifest, Release
from .disk import write_atomically

log = logging.getLogger(__name__)


class Verifier(Protocol):
    """Tells whether a release is signed by one who may; see :class:`signature.Keyring`."""

    def verify(self, release: Release, tag: str) -> Tuple[Manifest, str]:
        """Return manifest and signer, or raise ImageError."""


@dataclass(frozen=True)
class _Seen:
    version: int
    digest: str


class ReleaseTrust:
    """Verification with a memory: the newest version taken for each tag, kept in the file ``path``.

    Whoever can make the directory lie can still not bring back an image that was replaced.
    """

    def __init__(self, verifier: Verifier, path: str) -> None:
        self._verifier, self._path = verifier, path
        self._lock = threading.Lock()
        self._refused: Dict[str, str] = {}
        self._seen = self._read()

    def admit(self, release: Release, tag: str) -> Manifest:
        """Return the manifest of ``release`` if its image may boot as ``tag``; from then on nothing older may.

        :raises ImageError: it may not; the first time that goes to the log, for whoever audits it
        :raises UnavailableError: it can't be told now
        """
        try:
            manifest, signer = self._verifier.verify(release, tag)
            with self._lock:
                self._remember(release, tag, manifest)
        except ImageError as error:
            if self._refused.get(tag) != str(error):
                self._refused[tag] = str(error)
                log.warning("audit: image refused: tag=%s location=%s: %s", tag, release.location, error)
            raise
        if self._refused.pop(tag, None) is not None:
            log.info("audit: image of tag=%s is accepted again: version=%d signer=%s", tag, manifest.version, signer)
        return manifest

    def _remember(self, release: Release, tag: str, manifest: Manifest) -> None:
        now = _Seen(manifest.version, hashlib.sha256(release.manifest.encode()).hexdigest())
        before = self._seen.get(tag)
        if before == now:
            return
        if before is not None and now.version <= before.version:
            same = now.version == before.version
            raise ImageError(
                object=f"image of tag {tag}",
                value=f"version {now.version}",
                reason="is another manifest of a version seen before" if same else "is rolled back",
                hint=f"version {before.version} was seen here; to go back, sign the old image again",
            )
        after = {**self._seen, tag: now}
        try:
            write_atomically(self._path, (json.dumps(encode(after), sort_keys=True) + "\n").encode(), 0o600)
        except OSError as error:
            raise UnavailableError(
                object=f"image of tag {tag}", value=self._path, reason=f"its version can't be noted: {error.strerror}"
            ) from None
        self._seen = after

    def _read(self) -> Dict[str, _Seen]:
        try:
            with open(self._path, encoding="utf-8") as stream:
                found = json.load(stream)
            return {str(tag): decode(_Seen, seen, self._path) for tag, seen in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as error:
            raise ConfigError(
                object=self._path, reason=f"can't be read: {error}", hint="delete it to forget which versions were seen"
            ) from None
