# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an image believes it is: time zone and name servers."""

from __future__ import annotations

import posixpath
from typing import Optional

from ...model.errors import ImageError
from .family import DEBIAN, family
from .operations import Dns
from .view import File, Folder, ImageView, Symlink, want_parents

_ZONES = "/usr/share/zoneinfo"
_RESOLVED = "/run/systemd/resolve"


def plan_timezone(view: ImageView, zone: Optional[str]) -> None:
    """State the time zone; raise ImageError for one that the image does not know."""
    if zone is None:
        return
    path = f"{_ZONES}/{zone}"
    if not isinstance(view.look(view.resolve(path)), File):
        raise ImageError(
            object="timezone", value=zone, reason="is not in the image's zoneinfo", hint="mistyped, or no tzdata there"
        )
    now = view.look("/etc/localtime")
    if not isinstance(now, Symlink) or posixpath.normpath(posixpath.join("/etc", now.target)) != path:
        view.want("/etc/localtime", Symlink(path))
    if family(view) == DEBIAN:
        view.want("/etc/timezone", File(f"{zone}\n".encode(), 0o644))


def plan_dns(view: ImageView, dns: Optional[Dns]) -> None:
    """State the name servers: to systemd-resolved where ``resolv.conf`` is its own, else in ``resolv.conf``."""
    if dns is None:
        return
    now = view.look("/etc/resolv.conf")
    if isinstance(now, Folder):
        raise ImageError(object="/etc/resolv.conf", reason="is a folder in the image", hint="delete it")
    target = posixpath.normpath(posixpath.join("/etc", now.target)) if isinstance(now, Symlink) else ""
    if posixpath.dirname(target) == _RESOLVED:
        path = "/etc/systemd/resolved.conf.d/50-wnodes.conf"
        lines = ["[Resolve]", f"DNS={' '.join(dns.servers)}"]
        lines += [f"Domains={' '.join(dns.search)}"] if dns.search else []
        want_parents(view, path)
    else:
        path = "/etc/resolv.conf"
        lines = [f"search {' '.join(dns.search)}"] if dns.search else []
        lines += [f"nameserver {server}" for server in dns.servers]
    view.want(path, File("".join(f"{line}\n" for line in lines).encode(), 0o644))
