# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd units of an image that is not running: the links that ``systemctl`` would make, computed instead of run.

Computed, so that check mode knows them exactly and no program of the image has to be started for them.
"""

from __future__ import annotations

import posixpath
from typing import Dict, List, Tuple

from ...model.errors import ImageError
from .operations import Units
from .view import File, Folder, ImageView, Symlink, want_parents

ETC = "/etc/systemd/system"
_FOLDERS = (ETC, "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
#: names that Debian and RHEL give to the same services
_SAME = (("ssh", "sshd"), ("cron", "crond"), ("chrony", "chronyd"), ("apache2", "httpd"))
_OTHER = {f"{a}.service": f"{b}.service" for pair in _SAME for a, b in (pair, pair[::-1])}
_INSTALL = {"WantedBy": "wants", "RequiredBy": "requires"}


def plan_units(view: ImageView, units: Units) -> None:
    """State in ``view`` what ``units`` asks for; raise ImageError for a unit that is not there or can't be enabled."""
    for name in units.disable:
        _disable(view, _own_name(view, name))
    for name in units.mask:
        _mask(view, _own_name(view, name))
    for name in units.enable:
        _enable(view, _own_name(view, name))


def _own_name(view: ImageView, name: str) -> str:
    """Return the name under which the image has the unit, where its family calls it differently."""
    other = _OTHER.get(name)
    if other is None or any(view.look(f"{folder}/{name}") is not None for folder in _FOLDERS[1:]):
        return name
    return other if any(view.look(f"{folder}/{other}") is not None for folder in _FOLDERS[1:]) else name


def _mask(view: ImageView, name: str) -> None:
    path = f"{ETC}/{name}"
    if isinstance(view.look(path), (File, Folder)):
        raise ImageError(
            object=f"unit {name}", value=path, reason="can't be masked: the file is in the way", hint="delete it"
        )
    want_parents(view, path)
    view.want(path, Symlink("/dev/null"))


def _disable(view: ImageView, name: str) -> None:
    found = [path for kind in _INSTALL.values() for path in view.names(f"{ETC}/*.{kind}/{name}")]
    try:
        found += [f"{ETC}/{alias}" for alias in _install(view, name).get("Alias", [])]
    except ImageError:
        pass  # what is not there (or masked) has no aliases
    for path in found:
        if isinstance(view.look(path), Symlink):
            view.want(path, None)


def _enable(view: ImageView, name: str) -> None:
    section = _install(view, name)
    target = _file(view, name)[0]
    links = [f"{ETC}/{wanting}.{kind}/{name}" for key, kind in _INSTALL.items() for wanting in section.get(key, [])] + [
        f"{ETC}/{alias}" for alias in section.get("Alias", [])
    ]
    if not links and "Also" not in section:
        raise ImageError(object=f"unit {name}", value=target, reason="can't be enabled: its [Install] section is empty")
    for link in links:
        now = view.look(link)
        if isinstance(now, Symlink) and posixpath.basename(now.target) == posixpath.basename(target):
            continue  # /lib and /usr/lib are the same place
        want_parents(view, link)
        view.want(link, Symlink(target))
    for also in section.get("Also", []):
        if also != name:
            _enable(view, also)


def _file(view: ImageView, name: str) -> Tuple[str, str]:
    """Return path and text of the unit's file, of its template where it is an instance."""
    stem, dot, kind = name.rpartition(".")
    template = f"{stem.partition('@')[0]}@{dot}{kind}" if "@" in stem else name
    for candidate in (name, template):
        for folder in _FOLDERS:
            path = f"{folder}/{candidate}"
            node = view.look(path)
            if isinstance(node, Symlink) and node.target == "/dev/null":
                raise ImageError(
                    object=f"unit {name}", value=path, reason="is masked", hint="delete the link to unmask it"
                )
            if node is not None:
                return path, view.text(view.resolve(path))[0]
    raise ImageError(
        object=f"unit {name}", reason="is not in the image", hint="install its package or add it with files"
    )


def _install(view: ImageView, name: str) -> Dict[str, List[str]]:
    section: Dict[str, List[str]] = {}
    inside = False
    instance = name.rpartition(".")[0].partition("@")[2]
    for line in _file(view, name)[1].splitlines():
        line = line.strip()
        if line.startswith("["):
            inside = line == "[Install]"
        elif inside and "=" in line and line[0] not in "#;":
            key, _equals, value = line.partition("=")
            words = value.replace("%i", instance).split()
            section[key.strip()] = section.get(key.strip(), []) + words if words else []
    return section
