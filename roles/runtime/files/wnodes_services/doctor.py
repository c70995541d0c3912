# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of this machine, with what its configuration files say it shall be."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from wnodes.bait.config import BaitConfig
from wnodes.doctor.catalogue import CHECKS, OF_BAIT
from wnodes.doctor.check import HEAD, NODE, Check, Finding, Wanted, examine
from wnodes.doctor.machine import Machine
from wnodes.doctor.services import ETC, SERVICES
from wnodes.hypervisor.config import HypervisorConfig
from wnodes.model.codec import encode
from wnodes.model.errors import ConfigError, NotFoundError, WnodesError
from wnodes.nameserver.config import NameserverConfig

from . import config as configuration

T = TypeVar("T")


def nothing(_check: Check) -> None:
    """Show no progress."""


def roles() -> tuple[str, ...]:
    """Return what this machine is, by the configuration files that are there.

    :raises NotFoundError: nothing of ours is installed
    """
    found = tuple(
        role
        for role, services in SERVICES.items()
        if any(os.path.exists(os.path.join(ETC, f"{name}.yml")) for name in services)
    )
    if not found:
        raise NotFoundError(
            object="wnodes", value=ETC, reason="there is no configuration here, so there is nothing to check",
            hint="before a roll-out, the playbook preflight checks the machines of a site",
        )  # fmt: skip
    return found


def wanted(role: str, machine: Machine) -> Wanted:
    """Return what the machine shall be; a file that can't be used is one of the findings."""
    broken: list[WnodesError] = []

    def read(cls: type[T], name: str) -> T | None:
        try:
            return configuration.load(cls, os.path.join(ETC, f"{name}.yml"))
        except ConfigError as error:
            broken.append(error)
            return None

    if role == HEAD:
        site = read(NameserverConfig, "nameserver")
        return Wanted(role, True, nameserver=site, broken=tuple(broken))
    hypervisor, bait = read(HypervisorConfig, "hypervisor"), read(BaitConfig, "bait")
    here = Wanted(role, True, hypervisor, bait, broken=tuple(broken))
    try:
        now = machine.ask_nameserver(hypervisor.nameserver, "hypervisor")["now"] if hypervisor else None
    except (WnodesError, KeyError):  # a check of its own tells that it does not answer
        return here
    return replace(here, now=now)


def look(checks: Iterable[Check], begin: Callable[[Check], None] = nothing) -> Iterator[Finding]:
    """Yield what the checks find on this machine; it may be head and node at once."""
    machine = Machine()
    told = set()
    chosen = tuple(checks)
    for role in roles():
        for finding in examine(chosen, machine, wanted(role, machine), begin):
            if finding not in told:
                told.add(finding)
                yield finding


def of_service(service: str) -> tuple[Check, ...]:
    """Return the checks that a node's service makes for the head node: what its sandbox lets it see."""
    return tuple(check for check in CHECKS if NODE in check.on and (check.subject in OF_BAIT) == (service == "bait"))


def report(service: str, version: str) -> dict[str, Any]:
    """Return what a node's service of that version answers to ``GET /v1/doctor``."""
    return {"version": version, "findings": encode(list(look(of_service(service))))}
