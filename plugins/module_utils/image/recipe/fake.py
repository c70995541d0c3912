# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A libguestfs handle over a dictionary: for tests, and for trying a recipe where no appliance can run."""

from __future__ import annotations

import fnmatch
import hashlib
import posixpath
import stat
from typing import Callable, Dict, List, Optional, Union

from .view import File, Folder, SpecialFile, Symlink

TreeNode = Union[File, Folder, Symlink, SpecialFile]


class FakeHandle:
    """The image's tree as ``path → node``; every call is written to ``calls``, every command to ``commands``.

    Behaves as the real one where we rely on it: RuntimeError with a text, nothing writable before remount.
    """

    def __init__(self, tree: Optional[Dict[str, Union[str, TreeNode]]] = None) -> None:
        self.tree: Dict[str, TreeNode] = {"/": Folder(0o755)}
        self.calls: List[str] = []
        self.commands: List[Union[str, List[str]]] = []
        #: what a command does to the tree; return its output, raise RuntimeError to fail
        self.on_command: Callable[[FakeHandle, Union[str, List[str]]], str] = lambda _handle, _command: ""
        self.launches = 0
        self.network = False
        self.partitions: List[str] = []
        self.roots: List[str] = []
        self.found: Dict[str, str] = {}
        self.mounted: Dict[str, str] = {}
        self._rw = False
        self._covered: Dict[str, TreeNode] = {}
        for path, node in (tree or {}).items():
            self.put(path, File(node.encode(), 0o644) if isinstance(node, str) else node)

    def put(self, path: str, node: TreeNode) -> None:
        """Set a node, with the folders above it."""
        folder = posixpath.dirname(path)
        if folder not in self.tree:
            self.put(folder, Folder(0o755))
        self.tree[path] = node

    def _real(self, path: str) -> str:
        """Follow links in the folders above the last part of ``path``."""
        real = "/"
        parts = path.strip("/").split("/")
        for index, part in enumerate(parts):
            real = posixpath.join(real, part)
            node = self.tree.get(real)
            if isinstance(node, Symlink) and index < len(parts) - 1:
                real = self._real(posixpath.normpath(posixpath.join(posixpath.dirname(real), node.target)))
        return real

    def _get(self, path: str) -> TreeNode:
        node = self.tree.get(self._real(path))
        if node is None:
            raise RuntimeError(f"{path}: No such file or directory")
        return node

    def _need_rw(self, path: str) -> str:
        if not self._rw:
            raise RuntimeError(f"{path}: Read-only file system")
        return self._real(path)

    # -- handle --------------------------------------------------------------------------------------------------

    def set_backend(self, backend: str) -> None:
        self.calls.append(f"backend {backend}")

    def set_backend_settings(self, settings: List[str]) -> None:
        self.calls.append(f"settings {' '.join(settings)}")

    def set_network(self, network: bool) -> None:
        self.network = network

    def set_memsize(self, memsize: int) -> None:
        pass

    def add_drive_opts(self, filename: str, *, readonly: bool, format: str) -> None:
        self.calls.append(f"drive {filename} {format} {'ro' if readonly else 'rw'}")

    def add_drive_scratch(self, size: int) -> None:
        self.calls.append("drive scratch")

    def launch(self) -> None:
        self.mounted = {}
        self.launches += 1
        self._rw = False

    def shutdown(self) -> None:
        self.calls.append("shutdown")

    def close(self) -> None:
        self.calls.append("close")

    # -- devices -------------------------------------------------------------------------------------------------

    def list_devices(self) -> List[str]:
        return ["/dev/sda", "/dev/sdb"] if "drive scratch" in self.calls else ["/dev/sda"]

    def list_partitions(self) -> List[str]:
        return self.partitions

    def vfs_type(self, mountable: str) -> str:
        return "" if self.partitions else "ext4"

    def inspect_os(self) -> List[str]:
        return self.roots

    def inspect_get_mountpoints(self, root: str) -> Dict[str, str]:
        return self.found

    def mount_ro(self, mountable: str, mountpoint: str) -> None:
        self.calls.append(f"mount {mountable} {mountpoint}")
        self.mounted[mountable] = mountpoint

    def mountpoints(self) -> Dict[str, str]:
        return self.mounted

    def remount(self, mountpoint: str, *, rw: bool) -> None:
        self.calls.append(f"remount {mountpoint}")
        self._rw = rw

    def mkfs(self, fstype: str, device: str) -> None:
        self.calls.append(f"mkfs {fstype} {device}")

    def mount(self, mountable: str, mountpoint: str) -> None:
        self.calls.append(f"mount {mountable} {mountpoint}")
        self._covered = {path: node for path, node in self.tree.items() if path.startswith(mountpoint + "/")}
        self._covered[mountpoint] = self._get(mountpoint)
        self.tree = {path: node for path, node in self.tree.items() if path not in self._covered}
        self.tree[mountpoint] = Folder(0o755)

    def umount(self, pathordevice: str, *, lazyunmount: bool) -> None:
        self.calls.append(f"umount {pathordevice}")
        self.rm_rf(pathordevice)
        self.tree.update(self._covered)

    def umount_all(self) -> None:
        self._rw = False

    # -- files ---------------------------------------------------------------------------------------------------

    def lstatnslist(self, path: str, names: List[str]) -> List[Dict[str, int]]:
        if not self.is_dir(path, followsymlinks=True):
            raise RuntimeError(f"lstatnslist: {path}: Not a directory")
        return [self._status(posixpath.join(path, name)) for name in names]

    def _status(self, path: str) -> Dict[str, int]:
        status = {"st_ino": 2, "st_mode": 0, "st_uid": 0, "st_gid": 0, "st_size": 0}
        node = self.tree.get(self._real(path))
        if node is None:
            return dict.fromkeys(status, -1)
        if isinstance(node, Symlink):
            return {**status, "st_mode": stat.S_IFLNK | 0o777, "st_size": len(node.target)}
        if isinstance(node, SpecialFile):
            return {**status, "st_mode": node.mode}
        kind, size = (stat.S_IFREG, len(node.content)) if isinstance(node, File) else (stat.S_IFDIR, 4096)
        return {**status, "st_mode": kind | node.mode, "st_uid": node.uid, "st_gid": node.gid, "st_size": size}

    def exists(self, path: str) -> bool:
        return self._real(path) in self.tree

    def is_dir(self, path: str, *, followsymlinks: bool) -> bool:
        real = self._real(path)
        node = self.tree.get(real)
        if followsymlinks and isinstance(node, Symlink):
            node = self.tree.get(self._real(posixpath.normpath(posixpath.join(posixpath.dirname(real), node.target))))
        return isinstance(node, Folder)

    def readlink(self, path: str) -> str:
        node = self._get(path)
        assert isinstance(node, Symlink)
        return node.target

    def read_file(self, path: str) -> bytes:
        node = self._get(path)
        if not isinstance(node, File):
            raise RuntimeError(f"{path}: Is a directory")
        return node.content

    def pread(self, path: str, count: int, offset: int) -> bytes:
        return self.read_file(path)[offset : offset + count]

    def checksum(self, csumtype: str, path: str) -> str:
        return hashlib.new(csumtype, self.read_file(path)).hexdigest()

    def ls(self, directory: str) -> List[str]:
        real = posixpath.dirname(self._real(posixpath.join(directory, "entry")))
        return sorted(path.rpartition("/")[2] for path in self.tree if posixpath.dirname(path) == real and path != "/")

    def glob_expand(self, pattern: str) -> List[str]:
        depth = pattern.count("/")
        found = [path for path in self.tree if path.count("/") == depth and fnmatch.fnmatchcase(path, pattern)]
        return sorted(path + "/" * isinstance(self.tree[path], Folder) for path in found)

    def write(self, path: str, content: bytes) -> None:
        real = self._need_rw(path)
        if posixpath.dirname(real) not in self.tree:
            raise RuntimeError(f"{path}: No such file or directory")
        old = self.tree.get(real)
        mode = old.mode if isinstance(old, File) else 0o644
        self.calls.append(f"write {path}")
        self.tree[real] = File(content, mode)

    def upload(self, filename: str, remotefilename: str) -> None:
        with open(filename, "rb") as stream:
            self.write(remotefilename, stream.read())
        self.calls.append(f"upload {remotefilename}")

    def download(self, remotefilename: str, filename: str) -> None:
        with open(filename, "wb") as stream:
            stream.write(self.read_file(remotefilename))

    def mkdir_p(self, path: str) -> None:
        real = self._need_rw(path)
        if real not in self.tree:
            self.put(real, Folder(0o755))

    def chmod(self, mode: int, path: str) -> None:
        node = self._get(self._need_rw(path))
        assert isinstance(node, (File, Folder))
        self.tree[self._real(path)] = _with(node, mode, node.uid, node.gid)

    def chown(self, owner: int, group: int, path: str) -> None:
        node = self._get(self._need_rw(path))
        assert isinstance(node, (File, Folder))
        self.tree[self._real(path)] = _with(node, node.mode, owner, group)

    def ln_s(self, target: str, linkname: str) -> None:
        self.tree[self._need_rw(linkname)] = Symlink(target)

    def rm_rf(self, path: str) -> None:
        real = self._need_rw(path)
        for name in [name for name in self.tree if name == real or name.startswith(real + "/")]:
            del self.tree[name]

    # -- commands ------------------------------------------------------------------------------------------------

    def command(self, arguments: List[str]) -> str:
        self._need_resolver()
        self.commands.append(arguments)
        return self.on_command(self, arguments)

    def sh(self, command: str) -> str:
        self._need_resolver()
        self.commands.append(command)
        return self.on_command(self, command)

    def _need_resolver(self) -> None:
        if self.network:  # then libguestfs puts its own resolv.conf into the image while a command runs
            self._need_rw("/etc/resolv.conf")


def _with(node: Union[File, Folder], mode: int, uid: int, gid: int) -> TreeNode:
    return File(node.content, mode, uid, gid) if isinstance(node, File) else Folder(mode, uid, gid)
