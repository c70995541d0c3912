# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be asked of an image: one frozen dataclass per operation, and the recipe that holds them."""

from __future__ import annotations

import hashlib
import ipaddress
import posixpath
import re
from dataclasses import dataclass, field
from typing import Dict, Iterable, Optional, Tuple

from ...model.errors import ImageError

_MODE = re.compile(r"0?[0-7]{3,4}\Z")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*\Z")
_UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]+\.(service|socket|target|timer|mount|automount|path|slice|swap|device|scope)\Z")
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,30}\$?\Z")
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*\Z")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?\Z")


def check_path(path: str, what: str) -> str:
    """Return ``path`` if it is absolute, normalised and below ``/``; ``what`` starts the error's message."""
    plain = posixpath.normpath(path) == path and not path.startswith("//")
    if not plain or not path.startswith("/") or path == "/" or "\0" in path:
        raise ImageError(
            object=what,
            value=repr(path),
            reason="is not a path inside the image",
            hint="write it absolute, without '..', '//' or a slash at its end",
        )
    return path


def _check(good: bool, what: str, value: object, allowed: str) -> None:
    if not good:
        raise ImageError(object=what, value=repr(value), reason=f"must be {allowed}")


def _check_id(number: Optional[int], what: str) -> None:
    # 65535 and 4294967295 mean "none" to the system calls.
    _check(number is None or (0 <= number < 2**32 - 1 and number != 65535), what, number, "a number of 32 bits")


@dataclass(frozen=True)
class GroupOp:
    """A group.

    :param gid: None: as it is, for a new group the one that ``groupadd`` would choose
    :param system: whether that is taken from the range of system groups
    """

    name: str
    gid: Optional[int] = None
    system: bool = False

    def __post_init__(self) -> None:
        _check(bool(_ACCOUNT.match(self.name)), "groups", self.name, "a group's name")
        _check_id(self.gid, f"groups {self.name}: gid")


@dataclass(frozen=True)
class UserOp:
    """A user, who has no password and can't get in with one. What is None stays as it is in the image.

    :param uid: for a new user the one that ``useradd`` would choose, from the range of system users with ``system``
    :param group: primary group, name or number; for a new user one of its own name
    :param groups: further groups the user is put into; it stays in those where it is
    :param home: made where it is missing, mode 0700; a new user gets ``/home/<name>``, a new system user none
    :param shell: a new user gets bash, or sh where that is missing; a new system user nologin
    """

    name: str
    uid: Optional[int] = None
    group: Optional[str] = None
    groups: Tuple[str, ...] = ()
    home: Optional[str] = None
    shell: Optional[str] = None
    system: bool = False
    comment: Optional[str] = None

    def __post_init__(self) -> None:
        _check(bool(_ACCOUNT.match(self.name)), "users", self.name, "a user's name")
        _check_id(self.uid, f"users {self.name}: uid")
        for path, what in ((self.home, "home"), (self.shell, "shell")):
            if path is not None:
                check_path(path, f"users {self.name}: {what}")
                _check(not re.search(r"[:\n]", path), f"users {self.name}: {what}", path, "free of colons")
        plain = self.comment is None or not re.search(r"[:\n]", self.comment)
        _check(plain, f"users {self.name}: comment", self.comment, "one line without colons")


@dataclass(frozen=True)
class Dns:
    """Name servers (addresses) and the domains in which short names are looked up."""

    servers: Tuple[str, ...]
    search: Tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(bool(self.servers), "dns: servers", self.servers, "at least one address")
        for server in self.servers:
            try:
                ipaddress.ip_address(server)
            except ValueError:
                raise ImageError(object="dns: servers", value=repr(server), reason="must be an IP address") from None
        for domain in self.search:
            _check(bool(_HOST.match(domain)), "dns: search", domain, "a domain's name")


@dataclass(frozen=True)
class ScriptOp:
    """A script of the site, run inside the image once for each content it ever has; it starts with ``#!``."""

    name: str
    content: str

    def __post_init__(self) -> None:
        _check(bool(_NAME.match(self.name)), "scripts", self.name, "a file's name")
        _check(self.content.startswith("#!/"), f"scripts {self.name}", self.content[:40], "a script that starts '#!/'")

    @property
    def stamp(self) -> str:
        """Where the image remembers what has been run: a file with :attr:`digest`."""
        return f"/var/lib/wnodes/scripts/{self.name}"

    @property
    def digest(self) -> str:
        """The sha256 (hex) of the content."""
        return hashlib.sha256(self.content.encode()).hexdigest()


@dataclass(frozen=True)
class FileOp:
    """A file with this content, or with the content of ``source`` (a path on the machine that runs the engine).

    :param mode: octal text, e.g. ``"0644"``
    :param owner: name known in the image, or a number; ``group`` likewise
    """

    path: str
    content: Optional[str] = None
    source: Optional[str] = None
    mode: str = "0644"
    owner: str = "root"
    group: str = "root"

    def __post_init__(self) -> None:
        check_path(self.path, "files")
        one = (self.content is None) != (self.source is None)
        _check(one, f"files {self.path}", None, "given either content or source")
        _check(bool(_MODE.match(self.mode)), f"files {self.path}: mode", self.mode, "three or four octal digits")

    def data(self) -> bytes:
        """Return the wanted bytes; raise ImageError where ``source`` can't be read."""
        if self.source is None:
            return (self.content or "").encode()
        try:
            with open(self.source, "rb") as stream:
                return stream.read()
        except OSError as error:
            raise ImageError(
                object=f"files {self.path}: source", value=self.source, reason=f"can't be read: {error.strerror}"
            ) from None


@dataclass(frozen=True)
class EditOp:
    """A change inside a text file that exists.

    With ``line``: the last line that ``regexp`` finds becomes ``line``; where none is found it is appended.
    With ``replacement``: every match of ``regexp`` (multi-line mode) is replaced; back references work.
    """

    path: str
    regexp: str
    line: Optional[str] = None
    replacement: Optional[str] = None

    def __post_init__(self) -> None:
        check_path(self.path, "edits")
        one = (self.line is None) != (self.replacement is None)
        _check(one, f"edits {self.path}", None, "given either line or replacement")
        try:
            re.compile(self.regexp)
        except re.error as error:
            raise ImageError(object=f"edits {self.path}: regexp", value=repr(self.regexp), reason=str(error)) from None

    def edit(self, text: str) -> str:
        """Return ``text`` edited; raise ImageError where a second edit would change it again."""
        once = self._edit(text)
        if self._edit(once) != once:
            raise ImageError(
                object=f"edits {self.path}",
                value=repr(self.regexp),
                reason="would change the file again on every run",
                hint="let the expression not match what it has written",
            )
        return once

    def _edit(self, text: str) -> str:
        if self.replacement is not None:
            try:
                return re.sub(self.regexp, self.replacement, text, flags=re.MULTILINE)
            except (re.error, IndexError) as error:
                raise ImageError(
                    object=f"edits {self.path}: replacement", value=repr(self.replacement), reason=str(error)
                ) from None
        lines = text.splitlines()
        found = [index for index, line in enumerate(lines) if re.search(self.regexp, line)]
        if found:
            lines[found[-1]] = str(self.line)
        elif self.line not in lines:
            lines.append(str(self.line))
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class CommandOp:
    """A command run inside the image, as ``argv`` or as ``shell`` text; not run where the path ``creates`` exists."""

    argv: Tuple[str, ...] = ()
    shell: Optional[str] = None
    creates: Optional[str] = None

    def __post_init__(self) -> None:
        one = bool(self.argv) != (self.shell is not None)
        _check(one, "commands", self.argv or self.shell, "given either argv or shell")
        if self.creates is not None:
            check_path(self.creates, "commands: creates")

    def __str__(self) -> str:
        return self.shell if self.shell is not None else " ".join(self.argv)


@dataclass(frozen=True)
class KernelModules:
    """Kernel modules to load at boot, never to load by alias, and their options (name → text)."""

    load: Tuple[str, ...] = ()
    blacklist: Tuple[str, ...] = ()
    options: Dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.load, *self.blacklist, *self.options):
            _check(bool(_NAME.match(name)), "kernel_modules", name, "a module's name")
        for name, text in self.options.items():
            _check("\n" not in text, f"kernel_modules: options of {name}", text, "one line")


@dataclass(frozen=True)
class RemoteSyslog:
    """Where the system log is sent: host name or address, port, ``tcp`` or ``udp``."""

    host: str
    port: int = 514
    protocol: str = "tcp"

    def __post_init__(self) -> None:
        _check(bool(_HOST.match(self.host)), "remote_syslog: host", self.host, "a host name or an address")
        _check(0 < self.port < 65536, "remote_syslog: port", self.port, "1 to 65535")
        _check(self.protocol in ("tcp", "udp"), "remote_syslog: protocol", self.protocol, "tcp or udp")


@dataclass(frozen=True)
class SshKeys:
    """Public keys that may log in as ``user``; other keys that are there stay unless ``exclusive``."""

    user: str
    keys: Tuple[str, ...]
    exclusive: bool = False

    def __post_init__(self) -> None:
        for key in self.keys:
            good = len(key.split()) >= 2 and "\n" not in key.strip()
            _check(good, f"ssh_keys of {self.user}", key, "one public key")


@dataclass(frozen=True)
class Units:
    """systemd units to enable, disable, mask."""

    enable: Tuple[str, ...] = ()
    disable: Tuple[str, ...] = ()
    mask: Tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (*self.enable, *self.disable, *self.mask):
            _check(bool(_UNIT.match(name)), "units", name, "a unit's full name, e.g. munge.service")
        both = set(self.enable) & (set(self.disable) | set(self.mask))
        _check(not both, "units", sorted(both), "either enabled or not")


@dataclass(frozen=True)
class Recipe:
    """All that is asked of one image.

    Order of work: packages (removed, upgraded, installed); then groups, users, timezone, dns, files, edits, kernel
    modules, syslog, ssh keys, units; then scripts; then commands; then delete.

    :param packages_absent: removed with their configuration and with all that needs them
    :param upgrade: whether all installed packages are brought to the newest version their sources have
    :param network: whether the appliance reaches the network (installing and upgrading need it)
    """

    groups: Tuple[GroupOp, ...] = ()
    users: Tuple[UserOp, ...] = ()
    timezone: Optional[str] = None
    dns: Optional[Dns] = None
    files: Tuple[FileOp, ...] = ()
    edits: Tuple[EditOp, ...] = ()
    scripts: Tuple[ScriptOp, ...] = ()
    commands: Tuple[CommandOp, ...] = ()
    packages: Tuple[str, ...] = ()
    packages_absent: Tuple[str, ...] = ()
    upgrade: bool = False
    kernel_modules: KernelModules = KernelModules()
    remote_syslog: Optional[RemoteSyslog] = None
    ssh_keys: Tuple[SshKeys, ...] = ()
    units: Units = Units()
    delete: Tuple[str, ...] = ()
    network: bool = False

    def __post_init__(self) -> None:
        for name in (*self.packages, *self.packages_absent):
            _check(bool(_NAME.match(name)), "packages", name, "a package's name")
        both = sorted(set(self.packages) & set(self.packages_absent))
        _check(not both, "packages", both, "either installed or absent")
        _check(not self.upgrade or self.network, "upgrade", self.upgrade, "given with network: true")
        if self.timezone is not None:
            _check(bool(_ZONE.match(self.timezone)), "timezone", self.timezone, "a zone's name, e.g. Europe/Rome")
        for what, names in (
            ("files", [op.path for op in self.files]),
            ("groups", [group.name for group in self.groups]),
            ("users", [user.name for user in self.users]),
            ("scripts", [script.name for script in self.scripts]),
        ):
            _check(not _twice(names), what, _twice(names), "given once")
        for path in self.delete:
            check_path(path, "delete")
            inside = [op.path for op in self.files if op.path == path or op.path.startswith(path + "/")]
            _check(not inside, "delete", path, f"not a path that is also written ({', '.join(inside)})")


def _twice(names: Iterable[str]) -> str:
    seen = list(names)
    return ", ".join(sorted({name for name in seen if seen.count(name) > 1}))
