# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inspection of an image before it is published: nothing secret or unique inside; take kernel and initrd out."""

from __future__ import annotations

import posixpath
import re
from typing import Collection, FrozenSet, Iterator, List, Tuple

from ..model.errors import ImageError
from .recipe.appliance import Handle
from .recipe.operations import Recipe
from .recipe.view import File, ImageView, LargeFile

#: a password field that lets nobody in: locked, or "no password login"; ``x`` says that shadow has it
_LOCKED = re.compile(r"[!*]|x\Z")
#: account file, whether an empty password field there lets everybody in
_ACCOUNTS = (("/etc/shadow", True), ("/etc/passwd", True), ("/etc/gshadow", False), ("/etc/group", False))
#: glob, what it is; all of these are secrets, or would make two VMs the same machine
_FORBIDDEN: Tuple[Tuple[str, str], ...] = (
    ("/etc/ssh/ssh_host_*_key", "an ssh host key"),
    ("/etc/dropbear/dropbear_*_host_key", "an ssh host key"),
    ("/etc/munge/*.key", "a munge key"),
    ("/etc/slurm*/*.key", "a key of Slurm"),
    ("/var/spool/slurm*/*.key", "a key of Slurm"),
    ("/etc/condor/pool_password*", "a pool password of HTCondor"),
    ("/var/lib/condor/pool_password*", "a pool password of HTCondor"),
    ("/etc/condor/passwords.d/*", "a key of HTCondor"),
    ("/etc/condor/tokens.d/*", "a token of HTCondor"),
    ("/etc/*.keytab", "a Kerberos key table"),
    ("/etc/krb5kdc/*keytab*", "a Kerberos key table"),
    ("/var/kerberos/krb5/user/*/client.keytab", "a Kerberos key table"),
    ("/tmp/krb5cc_*", "a Kerberos ticket"),  # noqa: S108 - of the image
    ("/etc/grid-security/*key.pem", "a host certificate's key"),
    ("/etc/security/opasswd", "former passwords"),
    ("/etc/machine-id", "a machine id"),
    ("/var/lib/dbus/machine-id", "a machine id"),
    ("/var/lib/systemd/random-seed", "a stored random seed"),
    ("/var/lib/urandom/random-seed", "a stored random seed"),
    ("/var/lib/random-seed", "a stored random seed"),
    ("/boot/loader/random-seed", "a stored random seed"),
    ("/boot/efi/loader/random-seed", "a stored random seed"),
    ("/efi/loader/random-seed", "a stored random seed"),
    ("/var/lib/systemd/credential.secret", "systemd's secret of one machine"),
    ("/var/lib/NetworkManager/secret_key", "NetworkManager's secret of one machine"),
    ("/var/lib/cloud/instance", "instance data of cloud-init"),
    ("/var/lib/cloud/instances/*", "instance data of cloud-init"),
    ("/var/lib/cloud/data/*instance*", "instance data of cloud-init"),
    ("/var/lib/cloud/seed/*/*", "instance data of cloud-init"),
    ("/var/log/cloud-init*.log", "a log of cloud-init"),
    ("/var/lib/dhcp/*.lease*", "a DHCP lease"),
    ("/var/lib/dhclient/*.lease*", "a DHCP lease"),
    ("/var/lib/dhcpcd/*.lease*", "a DHCP lease"),
    ("/var/lib/NetworkManager/*.lease*", "a DHCP lease"),
    ("/var/lib/NetworkManager/*.leases", "a DHCP lease"),
)
#: the same in every home
_IN_HOMES: Tuple[Tuple[str, str], ...] = (
    (".*_history", "a shell history"),
    (".globus/*key.pem", "a private key"),
    (".condor/tokens.d/*", "a token of HTCondor"),
    (".netrc", "passwords"),
)
#: of one kind; an image with more of them is made to keep us busy
_MANY = 2000
_ROOT_KEYS = re.compile(r"authorized_keys2?\Z")
_INITRDS = ("initrd.img-{version}", "initramfs-{version}.img")


def meant_keys(recipe: Recipe) -> FrozenSet[str]:
    """Return the public keys that ``recipe`` lets log in as root on purpose, for :func:`check_publishable`."""
    keys = {key.strip() for op in recipe.ssh_keys if op.user == "root" for key in op.keys}
    for file in recipe.files:
        if file.path.startswith("/root/.ssh/") and _ROOT_KEYS.search(file.path):
            keys.update(_key_lines(file.data().decode("utf-8", "replace")))
    return frozenset(keys)


def check_publishable(handle: Handle, allow: Collection[str] = ()) -> None:
    """Raise ImageError that lists everything in the image that must not be handed out.

    :param allow: public keys (whole lines) that may log in as root
    """
    view = ImageView(handle)
    found = list(_matches(view, handle, _FORBIDDEN))
    for home in _homes(view, handle):
        if not re.fullmatch(r"[A-Za-z0-9/_.+@-]+", home):
            found.append(f"{home!r} (a home with a name that can't be looked into)")
            continue
        found += _matches(view, handle, tuple((f"{home.rstrip('/')}/{glob}", what) for glob, what in _IN_HOMES))
        found += _ssh(view, handle, home, allow)
    found += _passwords(view)
    if found:
        different = list(dict.fromkeys(found))
        more = [f"and {len(different) - _MANY} more"] if len(different) > _MANY else []
        raise ImageError(
            object="image",
            value=", ".join(different[:_MANY] + more),
            reason="holds what must not be published",
            hint="empty or delete these first",
        )


def _matches(view: ImageView, handle: Handle, rules: Tuple[Tuple[str, str], ...]) -> Iterator[str]:
    """Give what is there and not empty; a link counts by where it leads."""
    for pattern, what in rules:
        paths = handle.glob_expand(pattern)
        if len(paths) > _MANY:
            yield f"{pattern} ({what}, {len(paths)} times)"
            continue
        for path in paths:
            plain = path.rstrip("/")
            node = view.current(view.resolve(plain))
            content = node.content.strip() if isinstance(node, File) else b"?"
            if node is not None and content not in (b"", b"uninitialized") and not plain.endswith(".pub"):
                yield f"{plain} ({what})"


def _passwords(view: ImageView) -> Iterator[str]:
    for table, open_when_empty in _ACCOUNTS:
        for path in (table, f"{table}-"):
            real = view.resolve(path)
            node = view.current(real)
            if node is None:
                continue
            if not isinstance(node, File):
                yield f"{path} (no plain file: what it holds can't be known)"
                continue
            for line in node.content.decode("utf-8", "replace").split("\n"):
                name, _colon, rest = line.partition(":")
                field = rest.partition(":")[0]
                if name and not _LOCKED.match(field) and (field or open_when_empty):
                    yield f"{path} ({'a password' if field else 'an empty password'} of {name})"


def _homes(view: ImageView, handle: Handle) -> List[str]:
    homes = {"/root", *(path.rstrip("/") for path in handle.glob_expand("/home/*"))}
    passwd = view.current(view.resolve("/etc/passwd"))
    text = passwd.content.decode("utf-8", "replace") if isinstance(passwd, File) else ""
    for fields in (line.split(":") for line in text.split("\n")):
        if len(fields) > 5 and fields[5].startswith("/"):
            homes.add(posixpath.normpath(fields[5]))
    if len(homes) > _MANY:
        raise ImageError(object="image", value=f"{len(homes)} homes", reason="has too many homes to look into each")
    return sorted(homes)


def _ssh(view: ImageView, handle: Handle, home: str, allow: Collection[str]) -> Iterator[str]:
    folder = f"{home.rstrip('/')}/.ssh"
    if view.current(folder) is None or not handle.is_dir(folder, followsymlinks=True):
        return
    for name in handle.ls(folder):
        path = f"{folder}/{name}"
        node = view.current(view.resolve(path))
        content = node.content if isinstance(node, File) else b""
        named = name.startswith("id_") and not name.endswith(".pub") and (content or isinstance(node, LargeFile))
        if named or b"PRIVATE KEY-----" in content[:4096]:
            yield f"{path} (a private ssh key)"
        elif home == "/root" and _ROOT_KEYS.match(name):
            strange = set(_key_lines(content.decode("utf-8", "replace"))) - set(allow)
            if strange or not isinstance(node, File):
                yield f"{path} (who may log in as root)"


def _key_lines(text: str) -> List[str]:
    lines = (line.strip() for line in text.split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def root_device(handle: Handle) -> str:
    """Return where the mounted root file system is, as a VM names it: its first disk is ``/dev/vda``."""
    device = next((name for name, point in handle.mountpoints().items() if point == "/"), "")
    return re.sub(r"^/dev/[hsv]da(?=[0-9]*$)", "/dev/vda", device)


def extract_boot(handle: Handle, kernel: str, initrd: str) -> str:
    """Copy the image's newest kernel and its initrd into the files ``kernel`` and ``initrd``; return its version."""
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
            return version
    raise ImageError(
        object="image", value=newest, reason="has no initrd for this kernel", hint="update-initramfs, or dracut"
    )


def _natural(name: str) -> List[Tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
