# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a path in an image is or shall be, and a view of an image with what is not yet written laid over it."""

from __future__ import annotations

import posixpath
import stat
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple, Union

from ..model.errors import ImageError
from .guest import Handle


@dataclass(frozen=True)
class File:
    """A regular file."""

    content: bytes
    mode: int
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class Directory:
    """A directory, without regard to what is in it."""

    mode: int
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Other:
    """A device, socket or pipe."""

    mode: int


Node = Union[File, Directory, Link, Other]


@dataclass(frozen=True)
class Change:
    """One path that has to become something else; None stands for nothing there."""

    path: str
    before: Optional[Node]
    after: Optional[Node]


class View:
    """An image as it is, with the wanted nodes over it. Reads each path once; writes nothing."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._current: Dict[str, Optional[Node]] = {}
        self._wanted: Dict[str, Optional[Node]] = {}

    def current(self, path: str) -> Optional[Node]:
        """Return what is at ``path`` now (not following a link at its end), or None."""
        if path not in self._current:
            self._current[path] = self._read(path)
        return self._current[path]

    def look(self, path: str) -> Optional[Node]:
        """Return what will be at ``path``."""
        return self._wanted[path] if path in self._wanted else self.current(path)

    def resolve(self, path: str) -> str:
        """Return ``path`` with the links at its end followed (at most eight)."""
        for _hop in range(8):
            node = self.look(path)
            if not isinstance(node, Link):
                return path
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), node.target))
        raise ImageError(object=path, reason="is a link that leads in a circle")

    def want(self, path: str, node: Optional[Node]) -> None:
        """State that ``path`` shall be ``node`` (None: absent); the last word on a path counts."""
        self._wanted[path] = node

    def text(self, path: str) -> Tuple[str, File]:
        """Return the text of the file at ``path`` and its node; raise ImageError where there is none."""
        node = self.look(path)
        if not isinstance(node, File):
            raise ImageError(
                object=path, reason="is not a file of the image", hint="add it with files, or name the right path"
            )
        try:
            return node.content.decode(), node
        except UnicodeDecodeError:
            raise ImageError(object=path, reason="is not UTF-8 text", hint="replace it with files") from None

    def names(self, pattern: str) -> List[str]:
        """Return the paths that match the glob ``pattern`` in the image or are wanted under it, sorted."""
        folder, last = posixpath.split(pattern)
        found = {path for path in self._handle.glob_expand(pattern) if self.look(path) is not None}
        for path, node in self._wanted.items():
            if node is not None and posixpath.basename(path) == last and _match(posixpath.dirname(path), folder):
                found.add(path)
        return sorted(found)

    def ids(self, owner: str, group: str) -> Tuple[int, int]:
        """Return uid and gid of names (or numbers) as the image knows them."""
        return self._id("/etc/passwd", owner, "user"), self._id("/etc/group", group, "group")

    def user(self, name: str) -> Tuple[int, int, str]:
        """Return uid, gid and home of a user of the image."""
        for fields in self._table("/etc/passwd"):
            if fields[0] == name and len(fields) >= 6:
                return int(fields[2]), int(fields[3]), fields[5]
        raise ImageError(object="user", value=name, reason="is not in the image's /etc/passwd")

    def changes(self) -> Tuple[Change, ...]:
        """Return what differs, parents before what is in them."""
        differing = [
            Change(path, self.current(path), node) for path, node in self._wanted.items() if self.current(path) != node
        ]
        return tuple(sorted(differing, key=lambda change: change.path))

    def _id(self, table: str, name: str, what: str) -> int:
        if name.isdigit():
            return int(name)
        for fields in self._table(table):
            if fields[0] == name and len(fields) >= 3:
                return int(fields[2])
        if name == "root":
            return 0
        raise ImageError(object=what, value=name, reason=f"is not in the image's {table}", hint="give its number")

    def _table(self, path: str) -> List[List[str]]:
        node = self.look(path)
        text = node.content.decode("utf-8", "replace") if isinstance(node, File) else ""
        return [line.split(":") for line in text.splitlines()]

    def _is_folder(self, path: str) -> bool:
        node = self.current(path)
        return self._handle.is_dir(path, followsymlinks=True) if isinstance(node, Link) else isinstance(node, Directory)

    def _read(self, path: str) -> Optional[Node]:
        handle = self._handle
        if path == "/":
            return Directory(0o755)
        folder, name = posixpath.split(path)
        if not self._is_folder(folder):
            return None
        status = handle.lstatnslist(folder, [name])[0]
        if status["st_ino"] == -1:
            return None
        mode = status["st_mode"]
        if stat.S_ISLNK(mode):
            return Link(handle.readlink(path))
        permissions, uid, gid = stat.S_IMODE(mode), status["st_uid"], status["st_gid"]
        if stat.S_ISDIR(mode):
            return Directory(permissions, uid, gid)
        if stat.S_ISREG(mode):
            return File(handle.read_file(path) if status["st_size"] else b"", permissions, uid, gid)
        return Other(mode)


def _match(folder: str, pattern: str) -> bool:
    """Match ``folder`` against ``pattern``, whose only wildcard is a ``*`` at the start of its last part."""
    base, last = posixpath.split(pattern)
    if not last.startswith("*"):
        return folder == pattern
    return posixpath.dirname(folder) == base and posixpath.basename(folder).endswith(last[1:])
