# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small image for the tests: a fake handle with what a minimal Debian has, and an engine around it."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path

from wnodes.image.customise import Engine
from wnodes.image.disk import DiskTools, Overlay
from wnodes.image.fake import FakeHandle
from wnodes.image.nodes import File, Link

STATUS = """Package: apt
Status: install ok installed
Version: 2

Package: gone
Status: deinstall ok config-files

Package: kept
Status: hold ok installed
"""


def image() -> FakeHandle:
    """Return the handle of a fresh image."""
    return FakeHandle(
        {
            "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nmunge:x:101:102::/nonexistent:/bin/false\n",
            "/etc/group": "root:x:0:\nmunge:x:102:\n",
            "/etc/shadow": "root:*:1:0:99999:7:::\nmunge:!:1::::::\n",
            "/etc/nsswitch.conf": "passwd: files\nhosts: files\n",
            "/etc/machine-id": "",
            "/root/keep": "",
            "/lib": Link("usr/lib"),
            "/usr/lib/systemd/system/munge.service": "[Install]\nWantedBy=multi-user.target\nAlias=key.service\n",
            "/usr/lib/systemd/system/plain.service": "[Service]\nExecStart=/bin/true\n",
            "/usr/lib/systemd/system/getty@.service": "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n",
            "/usr/bin/apt-get": "",
            "/var/lib/dpkg/status": STATUS,
            "/boot/vmlinuz-6.1.0-9-cloud-amd64": "old kernel",
            "/boot/initrd.img-6.1.0-9-cloud-amd64": "old initrd",
            "/boot/vmlinuz-6.1.0-12-cloud-amd64": "kernel",
            "/boot/initrd.img-6.1.0-12-cloud-amd64": "initrd",
            "/bin/sh": File(b"", 0o755),
        }
    )


class FakeTools(DiskTools):
    """Notes what would be done with image files."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "done", [])

    done: list[str]

    @contextlib.contextmanager
    def overlay(self, disk: str, format: str) -> Iterator[Overlay]:
        self.done.append(f"overlay {format}")
        yield Overlay(disk + ".overlay", lambda: self.done.append("commit"))

    def to_qcow2(self, source: str, format: str, target: str) -> None:
        Path(target).write_bytes(qcow2(1 << 20) + Path(source).read_bytes())


def engine(handle: FakeHandle) -> Engine:
    """Return an engine whose every launch gives ``handle``."""
    return Engine(factory=lambda: handle, tools=FakeTools())


def raw(folder: Path, content: bytes = b"disk") -> str:
    """Write a raw disk file and return its path."""
    path = folder / "disk.raw"
    path.write_bytes(content.ljust(1024, b"\0"))
    return str(path)


def qcow2(
    size: int = 1 << 30,
    *,
    version: int = 3,
    backing: int = 0,
    crypt: int = 0,
    snapshots: int = 0,
    features: int = 0,
    cluster_bits: int = 16,
    header_length: int = 104,
    extensions: bytes = b"",
) -> bytes:
    """Return the first 256 KiB of a qcow2 file: header, refcount table at 64 KiB, L1 table at 192 KiB."""
    l1_entries = size >> (2 * cluster_bits - (4 if features & 1 << 4 else 3)) or 1
    head = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", version, backing, 4 if backing else 0, cluster_bits, size, crypt,
                       l1_entries, 196608, 65536, 1, snapshots, 0)  # fmt: skip
    head += struct.pack(">QQQII", features, 0, 0, 4, header_length) if version == 3 else b""
    return (head + extensions).ljust(262144, b"\0")
