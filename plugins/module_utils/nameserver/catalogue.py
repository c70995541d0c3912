# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pointing tags to releases: what an administrator does, by module or by hand. The difference first, then the deed."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, Dict, Iterable, List, Optional, Tuple

from ..directory.base import Directory, Heartbeat
from ..image.disk import sha256
from ..image.manifest import read_release
from ..image.trust import Verifier
from ..model.codec import encode
from ..model.errors import ImageError, NotFoundError, RequestError
from ..model.image import Manifest, Release, Rollout, TagEntry
from .service import told

#: of the nameserver's machine: who made the certificates of those who sign
AUTHORITY = "/etc/wnodes/pki/ca.crt"


@dataclass(frozen=True)
class DesiredTags:
    """What tags shall be.

    :param release: None: retired
    :param hosts: hypervisors that use ``release`` already; None: all
    """

    tags: Tuple[str, ...]
    release: Optional[Release]
    hosts: Optional[Tuple[str, ...]] = None


@dataclass(frozen=True)
class TagChange:
    """One tag that becomes something else; None stands for no such tag."""

    tag: str
    before: Optional[TagEntry]
    after: Optional[TagEntry]


def desired_tags(
    source: str, tags: Tuple[str, ...], hosts: Optional[Tuple[str, ...]], verifier: Verifier
) -> DesiredTags:
    """Return that tags shall point to what is published in ``source``, once it is verified.

    :param source: the published folder, or its manifest
    :param tags: instead of the manifest's
    :raises ImageError: nobody would boot it
    :raises RequestError: no tags
    """
    release = read_release(os.path.dirname(source) if os.path.isfile(source) else source)
    wanted = tags or release.claims().tags
    if not wanted:
        raise RequestError(object=source, reason="names no tags", hint="say which")
    for tag in wanted:
        verifier.verify(release, tag)
    return DesiredTags(wanted, release, hosts)


def changes(directory: Directory, desired: DesiredTags) -> Tuple[TagChange, ...]:
    """Return what has to change, by tag.

    :raises NotFoundError: a rollout to some hosts of a tag that is not there yet
    """
    now = {entry.tag: entry for entry in directory.tags()}
    found: List[TagChange] = []
    for tag in desired.tags:
        before = now.get(tag)
        after: Optional[TagEntry] = None
        if desired.release is not None and desired.hosts is None:
            after = TagEntry(tag, desired.release, before.updated if before else 0.0)
        elif desired.release is not None:
            if before is None:
                raise NotFoundError(object="image tag", value=tag, reason="is not there yet", hint="publish it for all")
            after = replace(before, rollout=Rollout(desired.release, desired.hosts or ()) if desired.hosts else None)
        if before != after:
            found.append(TagChange(tag, before, after))
    return tuple(found)


def apply(directory: Directory, desired: DesiredTags, todo: Tuple[TagChange, ...]) -> Tuple[TagEntry, ...]:
    """Make ``todo`` true; return the entries as they are now."""
    tags = tuple(change.tag for change in todo)
    if desired.release is None:
        for tag in tags:
            directory.remove_tag(tag)
        return ()
    if desired.hosts is None:
        return directory.set_tags(tags, desired.release) if tags else ()
    return tuple(directory.roll_out(change.tag, change.after.rollout if change.after else None) for change in todo)


def described(entry: Optional[TagEntry]) -> Dict[str, Any]:
    """Return a tag for people and programs: what its release claims, where it is, who uses another one already."""
    if entry is None:
        return {}
    told = {"tag": entry.tag, "updated": entry.updated, **_claims(entry.release)}
    if entry.rollout:
        told["rollout"] = {**_claims(entry.rollout.release), "hosts": list(entry.rollout.hosts)}
    return told


def _claims(release: Release) -> Dict[str, Any]:
    claims = release.claims()
    return {"digest": claims.digest, "location": release.location, "signed": bool(release.signature), **encode(claims)}


def on_nodes(beats: Iterable[Heartbeat]) -> Dict[str, Dict[str, Dict[str, Any]]]:
    """Return, by host and tag, how each hypervisor says that the tag stands there."""
    return {
        beat.host: {str(image.get("tag")): image for image in told(beat, "images")}
        for beat in beats
        if beat.role == "hypervisor"
    }


def check_files(release: Release) -> Manifest:
    """Read all files of a release that lie in a folder here; return its manifest.

    :raises ImageError: one is missing or is not what the manifest says
    """
    manifest = release.claims()
    for file in (manifest.disk, manifest.kernel, manifest.initrd):
        path = os.path.join(release.location, file.path)
        try:
            found = sha256(path)
        except OSError as error:
            raise ImageError(object=path, reason=f"can't be read: {error.strerror}") from None
        if found != file.digest:
            reason = f"is damaged: must be {file.digest}"
            raise ImageError(object=path, value=f"sha256 {found}", reason=reason, hint="publish it again")
    return manifest
