# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last look at an image before it is published: nothing secret or unique inside; take kernel and initrd out."""

from __future__ import annotations

import posixpath
import re
from typing import List, Tuple

from ..model.errors import ImageError
from .guest import Handle
from .nodes import File, View

#: a password field that lets nobody in: locked, or "no password login"
_LOCKED = re.compile(r"[!*]")
#: glob, what it is; all of these are secrets, or would make two VMs the same machine
_FORBIDDEN: Tuple[Tuple[str, str], ...] = (
    ("/etc/ssh/ssh_host_*_key", "an ssh host key"),
    ("/etc/munge/munge.key", "a munge key"),
    ("/etc/slurm/*.key", "a key of Slurm"),
    ("/root/.ssh/id_*", "a private ssh key"),
    ("/home/*/.ssh/id_*", "a private ssh key"),
    ("/var/lib/systemd/random-seed", "a stored random seed"),
    ("/etc/krb5.keytab", "a Kerberos key table"),
)
_INITRDS = ("initrd.img-{version}", "initramfs-{version}.img")


def check_sealed(handle: Handle) -> None:
    """Raise ImageError that lists everything in the image that must not be handed out."""
    view = View(handle)
    found: List[str] = []
    for table in ("/etc/shadow", "/etc/shadow-"):
        node = view.current(table)
        if isinstance(node, File):
            found += _passwords(table, node.content.decode("utf-8", "replace"))
    for pattern, what in _FORBIDDEN:
        found += [f"{path} ({what})" for path in handle.glob_expand(pattern) if not path.endswith(".pub")]
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        node = view.current(path)
        if isinstance(node, File) and node.content.strip() not in (b"", b"uninitialized"):
            found.append(f"{path} (a machine id)")
    if found:
        raise ImageError(
            object="image",
            value=", ".join(found),
            reason="holds what must not be published",
            hint="empty or delete these first",
        )


def _passwords(table: str, text: str) -> List[str]:
    found = []
    for line in text.splitlines():
        name, _colon, rest = line.partition(":")
        password = rest.partition(":")[0]
        if not name or _LOCKED.match(password):
            continue
        found.append(f"{table} ({'a password' if password else 'an empty password'} of {name})")
    return found


def extract_boot(handle: Handle, kernel: str, initrd: str) -> None:
    """Copy the image's newest kernel and its initrd out, into the files ``kernel`` and ``initrd``."""
    names = [path for path in handle.glob_expand("/boot/vmlinuz-*") if "rescue" not in path]
    if not names:
        raise ImageError(
            object="image", value="/boot/vmlinuz-*", reason="has no kernel", hint="install a kernel package"
        )
    newest = max(names, key=_natural)
    version = posixpath.basename(newest)[len("vmlinuz-") :]
    for pattern in _INITRDS:
        path = "/boot/" + pattern.format(version=version)
        if handle.exists(path):
            handle.download(newest, kernel)
            handle.download(path, initrd)
            return
    raise ImageError(
        object="image", value=newest, reason="has no initrd for this kernel", hint="update-initramfs, or dracut"
    )


def _natural(name: str) -> List[Tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
