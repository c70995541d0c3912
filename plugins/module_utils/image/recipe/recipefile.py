# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A recipe's file as role ``images`` takes it, checked before anything is begun."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Dict, Optional, Tuple

from ...model.codec import decode
from ...model.errors import ConfigError, ImageError, WnodesError
from ...model.image import Allowed, check_tag
from .operations import Recipe

#: key → how its value is written
SHAPES = {
    "tags": "[worker_debian12_x86_64]",
    "base": "{suite: bookworm, size_mib: 3072} or base: {image: /srv/base.qcow2, format: qcow2}",
    "worker": "{lrms: slurm}",
    "packages": "[chrony, rsync]",
    "packages_absent": "[telnet]",
    "upgrade": "true",
    "network": "true",
    "groups": "[{name: atlas, gid: 5000}]",
    "users": "[{name: atlas001, uid: 5001, group: atlas}]",
    "timezone": "Europe/Rome",
    "dns": "{servers: [192.0.2.53], search: [example.org]}",
    "files": '[{path: /etc/motd, content: "text", mode: "0644"}]',
    "edits": "[{path: /etc/nsswitch.conf, regexp: '^hosts:', line: 'hosts: files dns'}]",
    "kernel_modules": "{load: [tun], blacklist: [floppy], options: {tun: 'debug=1'}}",
    "remote_syslog": "{host: logs.example.org, port: 514, protocol: tcp}",
    "ssh_keys": "[{user: root, keys: ['ssh-ed25519 AAAA… me']}]",
    "units": "{enable: [chrony.service], disable: [], mask: [apt-daily.timer]}",
    "scripts": "[{name: trust-anchors, content: '#!/bin/sh …'}]",
    "commands": "[{argv: [update-ca-certificates], creates: /etc/ssl/done}]",
    "delete": "[/root/.bash_history]",
    "cmdline": "console=ttyS0 root=/dev/vda rw",
    "root_device": "/dev/vda1",
    "allowed": "{users: [alice], groups: [atlas]}",
    "properties": "{description: text for people}",
}


@dataclass(frozen=True)
class Base:
    """What an image is made from: a suite of Debian, or an image that is there."""

    suite: Optional[str] = None
    size_mib: int = 3072
    image: Optional[str] = None
    format: str = "qcow2"
    checksum: Optional[str] = None

    def __post_init__(self) -> None:
        if (self.suite is None) == (self.image is None):
            raise ImageError(object="base", reason="must have either suite or image")
        if self.format not in ("qcow2", "raw"):
            raise ImageError(object="base: format", value=repr(self.format), reason="must be one of qcow2, raw")
        if self.image is not None and not self.image.startswith("/") and not self.checksum:
            raise ImageError(object="base: image", value=self.image, reason="needs a checksum (sha256) beside it")


@dataclass(frozen=True)
class Worker:
    """The batch system of a worker."""

    lrms: str

    def __post_init__(self) -> None:
        if self.lrms != "slurm":
            raise ImageError(object="worker: lrms", value=repr(self.lrms), reason="must be one of slurm")


@dataclass(frozen=True)
class About:
    """What a recipe's file says beside the operations of :class:`Recipe`."""

    tags: Tuple[str, ...]
    base: Base
    worker: Optional[Worker] = None
    cmdline: Optional[str] = None
    root_device: Optional[str] = None
    allowed: Optional[Allowed] = None
    properties: Dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.tags:
            raise ImageError(object="tags", reason="must name at least one tag")
        for tag in self.tags:
            check_tag(tag)


_ABOUT = tuple(one.name for one in fields(About))
_OPERATIONS = tuple(one.name for one in fields(Recipe))
KEYS = _ABOUT + _OPERATIONS


def check_recipe(data: Any) -> None:
    """Check the content of a recipe's file.

    :raises WnodesError: the first fault, in one line: which key, which value, what is expected
    """
    if not isinstance(data, dict):
        raise ConfigError(object="recipe", value=repr(data)[:80], reason="must be a mapping of keys")
    for key in data:
        if key not in KEYS:
            raise ConfigError(object=str(key), reason="is no key of a recipe", hint=f"known keys: {', '.join(KEYS)}")
    for key in ("tags", "base"):
        if data.get(key) is None:
            raise ConfigError(object=key, reason="is missing", hint=_shape(key))
    for key, value in data.items():
        kind: Any = About if key in _ABOUT else Recipe
        # what a value is judged with, so that a fault is of this key
        others = {"tags": data["tags"], "base": data["base"]} if kind is About else {"network": True}
        try:
            decode(kind, {**others, key: _files(value) if key == "files" else value}, "recipe")
        except WnodesError as error:
            raise _told(error, key) from None
    _check_whole(data)


def _check_whole(data: Dict[str, Any]) -> None:
    """Check what keys say of each other."""
    base, worker = decode(Base, data["base"], "base"), data.get("worker")
    # as the role has it: an image that is there is worked on with network
    rest = {"network": base.image is not None, **{key: data[key] for key in _OPERATIONS if data.get(key) is not None}}
    decode(Recipe, {**rest, "files": _files(rest.get("files", []))}, "recipe")
    packages = data.get("packages") or ()
    if base.suite is not None and worker is None and not any(name.startswith("linux-image") for name in packages):
        raise ConfigError(
            object="base: suite",
            value=base.suite,
            reason="makes a system without a kernel, which can't boot",
            hint="add `worker: {lrms: slurm}`, or packages: [linux-image-cloud-amd64, systemd-sysv, …]",
        )


def _files(value: Any) -> Any:
    """Return files as the engine will get them: a template is a file's content by then."""
    if not isinstance(value, (list, tuple)):
        return value
    return [_file(item) for item in value]


def _file(item: Any) -> Any:
    if not isinstance(item, dict) or "template" not in item:
        return item
    if "content" in item or "source" in item:
        raise ImageError(object=f"files {item.get('path')}", reason="must be given one of content, source and template")
    return {**{key: value for key, value in item.items() if key != "template"}, "source": item["template"]}


def _shape(key: str) -> str:
    return f"for example {key}: {SHAPES[key]}"


def _told(error: WnodesError, key: str) -> WnodesError:
    """Return the error with the key's shape as its hint, unless it has one of its own."""
    hint = error.hint or _shape(key)
    return type(error)(object=error.object, value=error.value, reason=error.reason, hint=hint)
