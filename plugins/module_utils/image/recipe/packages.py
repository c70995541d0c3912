# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest's own package manager: what is installed, what could be newer, and how to change that.

Indexes and downloads go to the scratch drive, never into the image: a small update stays a small difference.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Dict, List, Sequence, Set, Tuple

from ...model.errors import ImageError
from .appliance import SCRATCH, Handle
from .family import RHEL, family
from .view import ImageView

_CACHE = f"{SCRATCH}/wnodes"
_POLICY = "/usr/sbin/policy-rc.d"  # asked by Debian's maintainer scripts whether they may start a service
_APT = (
    *("env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", f"TMPDIR={SCRATCH}"),
    *("apt-get", "--quiet", "--yes", "--no-install-recommends"),
    *("-o", f"Dir::State::Lists={_CACHE}/lists", "-o", f"Dir::Cache={_CACHE}/cache"),
    # A source that can't be reached must not look like one that has nothing new.
    *("-o", "APT::Update::Error-Mode=any", "-o", "APT::Get::Always-Include-Phased-Updates=true"),
    # The image's configuration files are what the recipe says, not what the package would like.
    *("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"),
)
_DNF = (
    *("env", "LC_ALL=C", f"TMPDIR={SCRATCH}", "dnf", "--assumeyes", "--quiet"),
    *(f"--setopt=cachedir={_CACHE}/dnf", "--setopt=install_weak_deps=False"),
)


@dataclass(frozen=True)
class Upgrade:
    """A package that gets another version; ``old`` is empty for one that comes in because another needs it."""

    name: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.name} {self.old} → {self.new}" if self.old else f"{self.name} {self.new}"


class PackageManager(ABC):
    """One way to handle packages, by running programs of the image, which has to be writable for that.

    Calls raise RuntimeError as the handle does; :meth:`refresh` comes before all that needs the sources.
    """

    #: whether already :meth:`installed` runs a program of the image
    runs_programs = True

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    @abstractmethod
    def installed(self) -> Set[str]:
        """Return the names of the installed packages."""

    @abstractmethod
    def refresh(self) -> None:
        """Fetch the sources' indexes to the scratch drive."""

    @abstractmethod
    def upgrades(self) -> Tuple[Upgrade, ...]:
        """Return what :meth:`upgrade` would do."""

    @abstractmethod
    def upgrade(self) -> None:
        """Bring all packages to their newest versions; nothing is removed for that."""

    @abstractmethod
    def install(self, names: Sequence[str]) -> None:
        """Install packages without recommended extras; no service is started."""

    @abstractmethod
    def remove(self, names: Sequence[str]) -> None:
        """Remove packages with their configuration, and what needs them."""


class Apt(PackageManager):
    """Debian and its family."""

    runs_programs = False

    def installed(self) -> Set[str]:
        found, name = set(), ""
        for line in ImageView(self._handle).text("/var/lib/dpkg/status")[0].split("\n"):
            if line.startswith("Package: "):
                name = line[9:].strip()
            elif line.startswith("Status: ") and line.endswith(" ok installed"):
                found.add(name)
        return found

    def refresh(self) -> None:
        self._handle.mkdir_p(f"{_CACHE}/lists/partial")
        self._handle.command([*_APT, "update"])

    def upgrades(self) -> Tuple[Upgrade, ...]:
        said = self._handle.command([*_APT, "--simulate", "--with-new-pkgs", "upgrade"])
        found = re.findall(r"^Inst (\S+) (?:\[([^\]\n]*)\] )?\((\S+)", said, re.MULTILINE)
        return tuple(Upgrade(*fields) for fields in sorted(found))

    def upgrade(self) -> None:
        self._run("--with-new-pkgs", "upgrade")

    def install(self, names: Sequence[str]) -> None:
        self._run("install", *names)

    def remove(self, names: Sequence[str]) -> None:
        self._run("purge", *names)

    def _run(self, *arguments: str) -> None:
        handle = self._handle
        handle.mkdir_p(f"{_CACHE}/cache/archives/partial")
        had_policy = handle.exists(_POLICY)
        if not had_policy:
            handle.write(_POLICY, b"#!/bin/sh\nexit 101\n")
            handle.chmod(0o755, _POLICY)
        try:
            handle.command([*_APT, *arguments])
        finally:
            if not had_policy:
                handle.rm_rf(_POLICY)


class Dnf(PackageManager):
    """RHEL and its family."""

    def installed(self) -> Set[str]:
        return set(self._versions())

    def refresh(self) -> None:
        self._handle.command([*_DNF, "makecache"])

    def upgrades(self) -> Tuple[Upgrade, ...]:
        query = ["repoquery", "--upgrades", "--latest-limit=1", "--queryformat", "%{name} %{evr}\\n"]
        old = self._versions()
        lines = (line.split() for line in self._handle.command([*_DNF, *query]).splitlines())
        found = {fields[0]: fields[1] for fields in lines if len(fields) == 2}
        return tuple(Upgrade(name, old.get(name, ""), new) for name, new in sorted(found.items()))

    def upgrade(self) -> None:
        self._handle.command([*_DNF, "upgrade"])

    def install(self, names: Sequence[str]) -> None:
        self._handle.command([*_DNF, "install", *names])

    def remove(self, names: Sequence[str]) -> None:
        self._handle.command([*_DNF, "remove", *names])

    def _versions(self) -> Dict[str, str]:
        query = ["rpm", "--query", "--all", "--queryformat", "%{NAME} %{EVR}\\n"]
        lines = (line.split() for line in self._handle.command(query).splitlines())
        return {fields[0]: fields[1] for fields in lines if len(fields) == 2}


def package_manager(handle: Handle) -> PackageManager:
    """Return the package manager of the image, its family's own first; raise ImageError where there is none."""
    view = ImageView(handle)
    known: List[Tuple[str, PackageManager]] = [("/usr/bin/apt-get", Apt(handle)), ("/usr/bin/dnf", Dnf(handle))]
    for program, manager in known[::-1] if family(view) == RHEL else known:
        if view.look(program) is not None:
            return manager
    raise ImageError(object="packages", reason="the image has no package manager we know", hint="apt or dnf")
