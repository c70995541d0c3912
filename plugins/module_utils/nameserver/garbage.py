# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Published images that no tag needs any more: found by what the directory says, deleted where they lie."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from typing import List, Set, Tuple

from ..directory.base import Directory
from ..image.manifest import read_release
from ..model.clock import Clock
from ..model.errors import ImageError

#: seconds that a published image may wait for its tag
GRACE_S = 24 * 3600.0
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Garbage:
    """A published image to be deleted: its folder, and bytes of its disk's file."""

    path: str
    size: int


def find_garbage(directory: Directory, keep: int, clock: Clock) -> Tuple[Garbage, ...]:
    """Return the images that go, from the folders that tags point or pointed into.

    :param keep: releases of each tag that stay besides its current one
    """
    needed: Set[str] = set()
    folders: Set[str] = set()
    for entry in directory.tags():
        releases = [entry.release] + [old.release for old in directory.history(entry.tag)[: keep + 1]]
        releases += [entry.rollout.release] if entry.rollout else []
        needed |= {release.location for release in releases}
        folders |= {os.path.dirname(old.release.location) for old in directory.history(entry.tag)}
    found: List[Garbage] = []
    for folder in sorted(folders):
        if os.path.isabs(folder) and os.path.isdir(folder):
            # the newest image of each tag may still wait for its roll-out
            needed |= {os.path.realpath(entry.path) for entry in os.scandir(folder) if entry.is_symlink()}
            found += [item for item in _images(folder, clock.now()) if item.path not in needed]
    return tuple(found)


def _images(folder: str, now: float) -> List[Garbage]:
    found = []
    for name in sorted(filter(_DIGEST.match, os.listdir(folder))):
        path = os.path.join(folder, name)
        try:
            manifest = read_release(path).claims()
        except ImageError:
            continue  # not ours, or just being published
        if manifest.digest == name and now - manifest.created > GRACE_S:
            found.append(Garbage(path, manifest.size))
    return found


def collect(garbage: Tuple[Garbage, ...]) -> None:
    """Delete the images, each under another name first: nobody finds half of one."""
    for item in garbage:
        gone = f"{os.path.dirname(item.path)}/.gone-{os.path.basename(item.path)}"
        os.rename(item.path, gone)
        shutil.rmtree(gone, ignore_errors=True)
