# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small image for the tests: a fake handle with what a minimal Debian has, and an engine around it."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Union

from wnodes.image.disk import DiskTools, Overlay
from wnodes.image.recipe.engine import Engine
from wnodes.image.recipe.fake import FakeHandle
from wnodes.image.recipe.view import File, Folder, Symlink

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
            "/etc/gshadow": "root:*::\nmunge:!::\n",
            "/etc/os-release": "ID=debian\n",
            "/etc/shadow": "root:*:1:0:99999:7:::\nmunge:!:1::::::\n",
            "/etc/nsswitch.conf": "passwd: files\nhosts: files\n",
            "/etc/machine-id": "",
            "/root/keep": "",
            "/lib": Symlink("usr/lib"),
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
            "/usr/share/zoneinfo/Europe/Rome": "TZif2",
            "/tmp": Folder(0o1777),
        }
    )


def enterprise_linux() -> FakeHandle:
    """Return the handle of an image of RHEL's family; a Debian tool is there too."""
    return FakeHandle(
        {
            "/etc/os-release": 'ID="rocky"\nID_LIKE="rhel centos fedora"\n',
            "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
            "/etc/group": "root:x:0:\n",
            "/etc/shadow": "root:*:1:0:99999:7:::\n",
            "/etc/gshadow": "root:::\n",
            "/bin/bash": "",
            "/usr/bin/dnf": "",
            "/usr/bin/apt-get": "",
            "/usr/lib/systemd/system/sshd.service": "[Install]\nWantedBy=multi-user.target\n",
            "/usr/share/zoneinfo/Europe/Rome": "TZif2",
            "/tmp": Folder(0o1777),
        }
    )


Command = Union[str, list[str]]


class AptStub:
    """What apt-get does to the tree of a fake handle: ``sources`` is what the index will say."""

    def __init__(self, installed: dict[str, str], sources: dict[str, str]) -> None:
        self.installed, self.sources = installed, sources
        self.fetched = False

    def __call__(self, handle: FakeHandle, command: Command) -> str:
        words = command[command.index("--no-install-recommends") + 1 :]
        words = [word for word in words if word[0] != "-" and "::" not in word and "=/" not in word]
        verb, *names = words
        if verb == "update":
            self.fetched = True
        elif verb == "upgrade" and "--simulate" in command:
            return "".join(f"Inst {name} [{old}] ({new} local [all])\n" for name, old, new in self.newer())
        elif verb == "upgrade":
            self.installed.update({name: new for name, _old, new in self.newer()})
        elif verb == "install":
            self.installed.update({name: self.sources[name] for name in names})
        elif verb == "purge":
            for name in names:
                del self.installed[name]
        else:
            raise RuntimeError(f"apt-get: {verb}?")
        text = "".join(f"Package: {name}\nStatus: install ok installed\n\n" for name in self.installed)
        handle.write("/var/lib/dpkg/status", text.encode())
        return ""

    def newer(self) -> list[tuple[str, str, str]]:
        sources = self.sources if self.fetched else {}
        return [(name, old, sources[name]) for name, old in self.installed.items() if sources.get(name, old) != old]


class DnfStub:
    """What rpm and dnf answer and do."""

    def __init__(self, installed: dict[str, str], sources: dict[str, str]) -> None:
        self.installed, self.sources = installed, sources

    def __call__(self, handle: FakeHandle, command: Command) -> str:
        if command[0] == "rpm":
            return "".join(f"{name} {version}\n" for name, version in self.installed.items())
        newer = {name: self.sources[name] for name, old in self.installed.items() if self.sources.get(name, old) != old}
        verb = next(word for word in command if word in ("makecache", "repoquery", "upgrade", "install", "remove"))
        names = command[command.index(verb) + 1 :]
        if verb == "repoquery":
            return "".join(f"{name} {new}\n\n" for name, new in newer.items())
        if verb == "upgrade":
            self.installed.update(newer)
        elif verb == "install":
            self.installed.update({name: self.sources[name] for name in names})
        elif verb == "remove":
            for name in names:
                del self.installed[name]
        return ""


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
