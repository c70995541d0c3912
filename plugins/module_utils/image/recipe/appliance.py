# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening an image: one libguestfs appliance, format given, no network unless asked, file systems read-only first."""

from __future__ import annotations

import contextlib
from typing import Callable, Dict, Iterator, List, Optional, Protocol, Sequence, Tuple

from ...model.errors import ConfigError, ImageError

#: where the image sees the scratch drive
SCRATCH = "/tmp"  # noqa: S108 - the image's, covered by a drive of our own
#: bytes; the file behind it on the host is sparse
_SCRATCH_SIZE = 16 << 30
_FILE_SYSTEMS = ("ext2", "ext3", "ext4", "xfs", "btrfs")


class Handle(Protocol):
    """What we use of a ``guestfs.GuestFS`` handle; see guestfs(3). Its calls raise RuntimeError."""

    def set_backend(self, backend: str) -> None: ...
    def set_backend_settings(self, settings: List[str]) -> None: ...
    def set_network(self, network: bool) -> None: ...
    def set_memsize(self, memsize: int) -> None: ...
    def add_drive_opts(self, filename: str, *, readonly: bool, format: str) -> None: ...
    def add_drive_scratch(self, size: int) -> None: ...
    def launch(self) -> None: ...
    def shutdown(self) -> None: ...
    def close(self) -> None: ...
    def list_devices(self) -> List[str]: ...
    def list_partitions(self) -> List[str]: ...
    def vfs_type(self, mountable: str) -> str: ...
    def inspect_os(self) -> List[str]: ...
    def inspect_get_mountpoints(self, root: str) -> Dict[str, str]: ...
    def mountpoints(self) -> Dict[str, str]: ...
    def mount_ro(self, mountable: str, mountpoint: str) -> None: ...
    def remount(self, mountpoint: str, *, rw: bool) -> None: ...
    def mkfs(self, fstype: str, device: str) -> None: ...
    def mount(self, mountable: str, mountpoint: str) -> None: ...
    def umount(self, pathordevice: str, *, lazyunmount: bool) -> None: ...
    def umount_all(self) -> None: ...
    def lstatnslist(self, path: str, names: List[str]) -> List[Dict[str, int]]: ...
    def exists(self, path: str) -> bool: ...
    def is_dir(self, path: str, *, followsymlinks: bool) -> bool: ...
    def readlink(self, path: str) -> str: ...
    def pread(self, path: str, count: int, offset: int) -> bytes: ...
    def checksum(self, csumtype: str, path: str) -> str: ...
    def ls(self, directory: str) -> List[str]: ...
    def glob_expand(self, pattern: str) -> List[str]: ...
    def write(self, path: str, content: bytes) -> None: ...
    def upload(self, filename: str, remotefilename: str) -> None: ...
    def download(self, remotefilename: str, filename: str) -> None: ...
    def mkdir_p(self, path: str) -> None: ...
    def chmod(self, mode: int, path: str) -> None: ...
    def chown(self, owner: int, group: int, path: str) -> None: ...
    def ln_s(self, target: str, linkname: str) -> None: ...
    def rm_rf(self, path: str) -> None: ...
    def command(self, arguments: List[str]) -> str: ...
    def sh(self, command: str) -> str: ...


Factory = Callable[[], Handle]


class OpenImage:
    """An open image: ``handle`` with its file systems mounted read-only until :meth:`writable` is called."""

    def __init__(self, handle: Handle, mounts: Sequence[Tuple[str, str]]) -> None:
        self.handle = handle
        self._mounts = tuple(mounts)
        self._writable = False

    def writable(self) -> None:
        """Make the file systems writable; until then not even a time stamp of the image changes."""
        if not self._writable:
            for mountpoint, _device in self._mounts:
                self.handle.remount(mountpoint, rw=True)
            self._writable = True

    @contextlib.contextmanager
    def scratch(self) -> Iterator[None]:
        """Make the image writable and cover its ``/tmp`` with the scratch drive: what is written there is never kept.

        :raises ImageError: ``/tmp`` is something else than a folder
        """
        self.writable()
        handle = self.handle
        if not handle.exists(SCRATCH):
            handle.mkdir_p(SCRATCH)
        if not handle.is_dir(SCRATCH, followsymlinks=False):
            raise ImageError(object=SCRATCH, reason="is not a folder in the image", hint="delete it first")
        device = handle.list_devices()[-1]
        handle.mkfs("ext2", device)
        handle.mount(device, SCRATCH)
        handle.chmod(0o1777, SCRATCH)
        yield
        # Lazily: a program that a package has left running may still stand in there.
        handle.umount(SCRATCH, lazyunmount=True)


def libguestfs() -> Handle:
    """Return a new real handle; raise ConfigError where the bindings are missing."""
    try:
        # it has no types, and is not on every machine
        import guestfs  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise ConfigError(
            object="libguestfs",
            reason=f"its Python bindings can't be imported: {error}",
            hint="install python3-guestfs and run with the distribution's own python3",
        ) from None
    handle: Handle = guestfs.GuestFS(python_return_dict=True)
    return handle


@contextlib.contextmanager
def open_image(
    disk: str,
    format: str,
    *,
    readonly: bool,
    network: bool = False,
    scratch: bool = False,
    accel: str = "tcg",
    factory: Factory = libguestfs,
) -> Iterator[OpenImage]:
    """Launch one appliance on ``disk`` and mount what is inside.

    :param disk: path of the image; with ``readonly`` it is not written to, whatever is done inside
    :param format: ``qcow2`` or ``raw``; never guessed
    :param scratch: whether :meth:`OpenImage.scratch` will be used
    :param accel: ``kvm`` or ``tcg``
    :raises ImageError: anything that goes wrong in the appliance; nothing is lost by closing then
    """
    handle = factory()
    try:
        handle.set_backend("direct")
        handle.set_backend_settings([] if accel == "kvm" else ["force_tcg"])
        handle.set_network(network)
        handle.set_memsize(1024)
        handle.add_drive_opts(disk, readonly=readonly, format=format)
        if scratch:
            handle.add_drive_scratch(_SCRATCH_SIZE)
        handle.launch()
        mounts = _find(handle, disk)
        for mountpoint, device in mounts:
            handle.mount_ro(device, mountpoint)
        yield OpenImage(handle, mounts)
        handle.umount_all()
        handle.shutdown()
    except RuntimeError as error:
        raise ImageError(object=f"image {disk}", reason=f"libguestfs: {error}") from error
    finally:
        handle.close()


def _find(handle: Handle, disk: str) -> List[Tuple[str, str]]:
    """Return (mount point, device) pairs, ``/`` first."""
    device = handle.list_devices()[0]
    if not handle.list_partitions() and _type(handle, device) in _FILE_SYSTEMS:
        return [("/", device)]  # a file system without a partition table: inspection would take seconds to say the same
    roots = handle.inspect_os()
    if len(roots) != 1:
        raise ImageError(
            object=f"image {disk}",
            value=", ".join(roots),
            reason="has more than one operating system" if roots else "has no operating system that can be recognised",
        )
    points = handle.inspect_get_mountpoints(roots[0])
    return sorted(points.items(), key=lambda pair: len(pair[0]))


def _type(handle: Handle, device: str) -> Optional[str]:
    try:
        return handle.vfs_type(device)
    except RuntimeError:
        return None
