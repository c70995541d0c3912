# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operating system: what must be there before anything of ours can be."""

from __future__ import annotations

import re
from typing import Iterator, Tuple

from ..model.errors import CommandFailed
from .check import HEAD, NODE, Check, Finding, Wanted, failure, ok
from .machine import Machine

PYTHON = "/usr/bin/python3"
LEAST_PYTHON, LEAST_SYSTEMD = (3, 11), 249
#: programs that a machine of this role has by itself, and those that the roles install
OWN = {HEAD: ("systemctl", "getent", "ip"), NODE: ("systemctl", "getent", "ip")}
OURS = {HEAD: ("openssl",), NODE: ("openssl", "qemu-img", "mkfs.ext4")}
PACKAGES = {"qemu-img": "qemu-utils", "mkfs.ext4": "e2fsprogs", "ip": "iproute2", "getent": "libc-bin"}


def numbers(text: str) -> Tuple[int, ...]:
    """Return the numbers of the first version in a text; none where there is no version."""
    found = re.search(r"[0-9]+(?:\.[0-9]+)*", text)
    return tuple(map(int, found.group().split("."))) if found else ()


def python(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    try:
        version = machine.said(PYTHON, "--version")
    except CommandFailed as error:
        yield failure(PYTHON, "", error.reason, "install the distribution's python3")
        return
    if numbers(version) < LEAST_PYTHON:
        yield failure(
            PYTHON,
            version,
            "the services need Python 3.11 or later",
            "use a distribution that has it, as Debian 12 does",
        )
    yield ok(PYTHON, version)


def systemd(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    version = machine.said("systemctl", "--version").partition("\n")[0]
    if numbers(version) < (LEAST_SYSTEMD,):
        yield failure(
            "systemd", version, f"the units and the bridge need {LEAST_SYSTEMD} or later", "update the distribution"
        )
    yield ok("systemd", version)


def programs(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    for name in OWN[wanted.role] + (OURS[wanted.role] if wanted.running else ()):
        if not machine.program(name):
            package = PACKAGES.get(name, name)
            yield failure(
                f"program {name}", "", "is not there", f"install the package {package}, or run the playbook site"
            )


CHECKS = (
    Check("host.python", "Python of the distribution, 3.11 or later", python),
    Check("host.systemd", "systemd 249 or later", systemd),
    Check("host.programs", "programs that the services start", programs),
)
