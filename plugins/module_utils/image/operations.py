# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be asked of an image: one frozen dataclass per operation, and the recipe that holds them."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import Dict, Iterable, Optional, Tuple

from ..model.errors import ImageError

_MODE = re.compile(r"0?[0-7]{3,4}\Z")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*\Z")
_UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]+\.(service|socket|target|timer|mount|automount|path|slice|swap|device|scope)\Z")
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

    Order of work: packages; then files, edits, kernel modules, syslog, ssh keys, units; then commands; then delete.

    :param network: whether the appliance reaches the network (packages need it)
    """

    files: Tuple[FileOp, ...] = ()
    edits: Tuple[EditOp, ...] = ()
    commands: Tuple[CommandOp, ...] = ()
    packages: Tuple[str, ...] = ()
    kernel_modules: KernelModules = KernelModules()
    remote_syslog: Optional[RemoteSyslog] = None
    ssh_keys: Tuple[SshKeys, ...] = ()
    units: Units = Units()
    delete: Tuple[str, ...] = ()
    network: bool = False

    def __post_init__(self) -> None:
        for name in self.packages:
            _check(bool(_NAME.match(name)), "packages", name, "a package's name")
        twice = _twice(op.path for op in self.files)
        _check(not twice, "files", twice, "given once")
        for path in self.delete:
            check_path(path, "delete")
            inside = [op.path for op in self.files if op.path == path or op.path.startswith(path + "/")]
            _check(not inside, "delete", path, f"not a path that is also written ({', '.join(inside)})")


def _twice(names: Iterable[str]) -> str:
    seen = list(names)
    return ", ".join(sorted({name for name in seen if seen.count(name) > 1}))
