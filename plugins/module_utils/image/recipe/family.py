# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which family of distributions a tree belongs to, from what the tree itself says."""

from __future__ import annotations

import re
from typing import Optional

from .view import ImageView

DEBIAN, RHEL = "debian", "rhel"
_FAMILIES = {"debian": DEBIAN, "ubuntu": DEBIAN, "rhel": RHEL, "fedora": RHEL, "centos": RHEL}
_RELEASES = ("/etc/os-release", "/usr/lib/os-release")
_MARKS = {"/etc/debian_version": DEBIAN, "/etc/redhat-release": RHEL}


def release_name(view: ImageView) -> str:
    """Return what the system calls itself, e.g. ``Debian GNU/Linux 12 (bookworm)``; empty where it does not say."""
    for release in _RELEASES:
        path = view.resolve(release)
        if view.look(path) is not None:
            found = re.search(r"^PRETTY_NAME=[\"']?([^\"'\n]*)", view.text(path)[0], re.MULTILINE)
            return "".join(letter for letter in found[1] if letter.isprintable())[:80] if found else ""
    return ""


def family(view: ImageView) -> Optional[str]:
    """Return :data:`DEBIAN`, :data:`RHEL`, or None for another system."""
    for release in _RELEASES:
        path = view.resolve(release)
        if view.look(path) is not None:
            values = dict(re.findall(r"^(ID|ID_LIKE)=[\"']?([a-z0-9._ -]*)", view.text(path)[0], re.MULTILINE))
            names = f"{values.get('ID', '')} {values.get('ID_LIKE', '')}".split()
            return next((_FAMILIES[name] for name in names if name in _FAMILIES), None)
    return next((found for mark, found in _MARKS.items() if view.look(mark) is not None), None)
