# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest's own package manager: what is installed, and how to install more."""

from __future__ import annotations

from typing import Set, Tuple

from ..model.errors import ImageError
from .guest import Handle

_POLICY = "/usr/sbin/policy-rc.d"  # asked by Debian's maintainer scripts whether they may start a service


def lacking(handle: Handle, names: Tuple[str, ...]) -> Tuple[str, ...]:
    """Return those of ``names`` that are not installed, in order; raise ImageError for an unknown package manager."""
    installed = _dpkg(handle) if _manager(handle) == "apt" else _rpm(handle)
    return tuple(name for name in names if name not in installed)


def install(handle: Handle, names: Tuple[str, ...]) -> None:
    """Install ``names`` from the image's own sources, without recommended extras; no service is started."""
    if _manager(handle) == "dnf":
        handle.command(["dnf", "--assumeyes", "--setopt=install_weak_deps=False", "install", *names])
        return
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "--yes"]
    had_policy = handle.exists(_POLICY)
    if not had_policy:
        handle.write(_POLICY, b"#!/bin/sh\nexit 101\n")
        handle.chmod(0o755, _POLICY)
    try:
        handle.command([*apt, "update"])
        handle.command([*apt, "--no-install-recommends", "install", *names])
        handle.command([*apt, "clean"])
    finally:
        if not had_policy:
            handle.rm_rf(_POLICY)


def _manager(handle: Handle) -> str:
    for path, manager in (("/usr/bin/apt-get", "apt"), ("/usr/bin/dnf", "dnf")):
        if handle.exists(path):
            return manager
    raise ImageError(object="packages", reason="the image has no package manager we know", hint="apt or dnf")


def _dpkg(handle: Handle) -> Set[str]:
    found, name = set(), ""
    for line in handle.read_file("/var/lib/dpkg/status").decode("utf-8", "replace").splitlines():
        if line.startswith("Package: "):
            name = line[9:].strip()
        elif line.startswith("Status: ") and line.endswith(" ok installed"):
            found.add(name)
    return found


def _rpm(handle: Handle) -> Set[str]:
    return set(handle.command(["rpm", "--query", "--all", "--queryformat", "%{NAME}\\n"]).splitlines())
