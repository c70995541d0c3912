# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a path in an image is or shall be, and a view of an image with what is not yet written laid over it.

What an image says is not to be trusted: nothing but regular files is read, and of those only so much.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import stat
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple, Union

from ...model.errors import ImageError
from .appliance import Handle

#: bytes of a file that are read and compared; a larger one is known by its size
LIMIT = 16 << 20
#: characters of an account file, which takes much more memory than that when it is split
_TABLE = 4 << 20
#: bytes in one answer of the appliance, whose messages end at 4 MiB
_CHUNK = 2 << 20


@dataclass(frozen=True)
class File:
    """A regular file."""

    content: bytes
    mode: int
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class LargeFile:
    """A regular file of the image with more than :data:`LIMIT` bytes, not read."""

    size: int
    mode: int
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class Folder:
    """A directory, without regard to what is in it."""

    mode: int
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class Symlink:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class SpecialFile:
    """A device, socket or pipe."""

    mode: int


Node = Union[File, LargeFile, Folder, Symlink, SpecialFile]
_KINDS = {LargeFile: "too large", Folder: "a folder", Symlink: "a link", SpecialFile: "a special file"}


@dataclass(frozen=True)
class Change:
    """One path that has to become something else; None stands for nothing there."""

    path: str
    before: Optional[Node]
    after: Optional[Node]


class ImageView:
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
            if not isinstance(node, Symlink):
                return path
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), node.target))
        raise ImageError(object=path, reason="is a link that leads in a circle")

    def want(self, path: str, node: Optional[Node]) -> None:
        """State that ``path`` shall be ``node`` (None: absent); the last word on a path counts."""
        self._wanted[path] = node

    def text(self, path: str) -> Tuple[str, File]:
        """Return the text of the file at ``path`` and its node; raise ImageError where there is none."""
        node = self.look(path)
        if node is None:
            raise ImageError(
                object=path, reason="is not in the image", hint="add it with files, or name the right path"
            )
        if not isinstance(node, File):
            kind = _KINDS[type(node)]
            raise ImageError(object=path, value=kind, reason="has to be a plain file here, of at most 16 MiB")
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
        for fields in self.table("/etc/passwd"):
            if fields[0] == name and len(fields) >= 6:
                uid, gid, home = number(fields[2]), number(fields[3]), fields[5]
                if uid is None or gid is None or not home.startswith("/") or posixpath.normpath(home) != home:
                    raise ImageError(
                        object="user", value=name, reason="has no number or no proper home in the image's /etc/passwd"
                    )
                return uid, gid, home
        raise ImageError(object="user", value=name, reason="is not in the image's /etc/passwd")

    def changes(self) -> Tuple[Change, ...]:
        """Return what differs, parents before what is in them."""
        differing = [
            Change(path, self.current(path), node)
            for path, node in self._wanted.items()
            if not self._same(path, self.current(path), node)
        ]
        return tuple(sorted(differing, key=lambda change: change.path))

    def table(self, path: str) -> List[List[str]]:
        """Return the fields of the lines of an account file; none where there is no such file."""
        if self.look(path) is None:
            return []
        text = self.text(path)[0]
        if len(text) > _TABLE:
            raise ImageError(object=path, value=f"{len(text)} characters", reason="is too large for an account file")
        return [line.split(":") for line in text.split("\n") if line]

    def _id(self, table: str, name: str, what: str) -> int:
        if name.isdigit():
            return int(name)
        for fields in self.table(table):
            found = number(fields[2]) if fields[0] == name and len(fields) >= 3 else None
            if found is not None:
                return found
        if name == "root":
            return 0
        raise ImageError(object=what, value=name, reason=f"is not in the image's {table}", hint="give its number")

    def _same(self, path: str, now: Optional[Node], wanted: Optional[Node]) -> bool:
        if not isinstance(now, LargeFile) or not isinstance(wanted, File):
            return now == wanted
        # Only a file of the wanted size is worth reading: one with holes may claim to be larger than any disk.
        same = (now.size, now.mode, now.uid, now.gid) == (len(wanted.content), wanted.mode, wanted.uid, wanted.gid)
        return same and self._handle.checksum("sha256", path) == hashlib.sha256(wanted.content).hexdigest()

    def _is_folder(self, path: str) -> bool:
        node = self.current(path)
        return self._handle.is_dir(path, followsymlinks=True) if isinstance(node, Symlink) else isinstance(node, Folder)

    def _read(self, path: str) -> Optional[Node]:
        handle = self._handle
        if path == "/":
            return Folder(0o755)
        folder, name = posixpath.split(path)
        if not self._is_folder(folder):
            return None
        status = handle.lstatnslist(folder, [name])[0]
        if status["st_ino"] == -1:
            return None
        mode = status["st_mode"]
        if stat.S_ISLNK(mode):
            return Symlink(handle.readlink(path))
        permissions, uid, gid = stat.S_IMODE(mode), status["st_uid"], status["st_gid"]
        if stat.S_ISDIR(mode):
            return Folder(permissions, uid, gid)
        if stat.S_ISREG(mode):
            size = status["st_size"]
            if size > LIMIT:
                return LargeFile(size, permissions, uid, gid)
            # pread: read_file takes 100 times as long for a small file.
            parts = [handle.pread(path, _CHUNK, offset) for offset in range(0, size, _CHUNK)]
            return File(b"".join(parts), permissions, uid, gid)
        return SpecialFile(mode)


def number(text: str) -> Optional[int]:
    """Return a uid or gid of an account file, or None where that is none."""
    return int(text) if re.fullmatch("[0-9]{1,10}", text) else None


def want_parents(view: ImageView, path: str) -> None:
    """State that the folders above ``path`` exist; those that are missing become root's, mode 0755."""
    missing = []
    folder = posixpath.dirname(path)
    while folder != "/" and view.look(folder) is None:
        missing.append(folder)
        folder = posixpath.dirname(folder)
    node = view.look(view.resolve(folder)) if folder != "/" else Folder(0o755)
    if not isinstance(node, Folder):
        raise ImageError(object=path, value=folder, reason="can't be written: this part of its path is not a folder")
    for folder in missing:
        view.want(folder, Folder(0o755))


def _match(folder: str, pattern: str) -> bool:
    """Match ``folder`` against ``pattern``, whose only wildcard is a ``*`` at the start of its last part."""
    base, last = posixpath.split(pattern)
    if not last.startswith("*"):
        return folder == pattern
    return posixpath.dirname(folder) == base and posixpath.basename(folder).endswith(last[1:])
