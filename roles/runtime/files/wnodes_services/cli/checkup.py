# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports of the machines of the site: who is asked, what they say, how it is shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wnodes.bait.client import BaitClient
from wnodes.doctor.catalogue import CHECKS, counted, worst_first
from wnodes.doctor.check import Check, Finding, Outcome, warning
from wnodes.hypervisor.client import HypervisorClient
from wnodes.model.codec import decode, encode
from wnodes.model.endpoint import endpoint
from wnodes.model.errors import NotFoundError, UnavailableError, WnodesError
from wnodes.model.hostlist import expand
from wnodes.nameserver.client import NameserverClient

from .. import doctor as here
from ..version import VERSION
from . import site

#: nodes that are asked at once
AT_ONCE = 32

_COLOURS = {Outcome.FAILURE: "bold red", Outcome.WARNING: "yellow", Outcome.SKIPPED: "dim", Outcome.OK: "green"}
CLIENTS: dict[str, Callable[..., HypervisorClient | BaitClient]] = {
    "hypervisor": HypervisorClient.of_node,
    "bait": BaitClient.of_node,
}


@dataclass(frozen=True)
class Report:
    """What is known of one machine.

    :param unreachable: why what should have told of it did not
    """

    host: str
    findings: tuple[Finding, ...]
    unreachable: tuple[WnodesError, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether a check failed there."""
        return any(finding.outcome is Outcome.FAILURE for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        found = {"counts": counted(self.findings), "findings": encode(self.findings)}
        return {"host": self.host, **found, "unreachable": [error.as_dict() for error in self.unreachable]}


def nodes(directory: NameserverClient) -> dict[str, dict[str, str]]:
    """Return by node where its services can be asked; an empty place where they told none."""
    found: dict[str, dict[str, str]] = {}
    for beat in directory.heartbeats():
        if beat.role in CLIENTS:
            found.setdefault(beat.host, {})[beat.role] = str(beat.status.get("manage", ""))
    return found


def choose(known: Iterable[str], patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the hosts that the patterns name; without any, all.

    :raises NotFoundError: a pattern names none
    """
    hosts = tuple(known)
    wishes = [name for pattern in patterns for name in expand(pattern)]
    for wish in wishes:
        if not any(fnmatchcase(host, wish) for host in hosts):
            raise NotFoundError(
                object=f"host {wish}", reason="is not known here", hint=f"there are: {', '.join(hosts) or 'none'}"
            )
    return tuple(host for host in hosts if not wishes or any(fnmatchcase(host, wish) for wish in wishes))


def ask(host: str, places: dict[str, str], timeout_s: float) -> Report:
    """Ask the services of a node; each tells what it can see."""
    findings: list[Finding] = []
    unreachable: list[WnodesError] = []
    for service, make in CLIENTS.items():
        try:
            place = endpoint(places.get(service, ""), "manage_listen")
            if place is None:
                raise UnavailableError(
                    object=f"{service} of {host}", reason="has not told where managers of the site reach it",
                    hint=f"does wnodes-{service}.service run there? is runtime_manage_address set?",
                )  # fmt: skip
            client = make(host, place, timeout_s=min(10.0, timeout_s))
            try:
                answer = client.doctor(max(0.0, timeout_s - 10.0))
            finally:
                client.close()
            findings += [decode(Finding, item, "finding") for item in answer["findings"]]
            findings += _other_version(service, host, str(answer["version"]))
        except (WnodesError, KeyError) as error:
            known = error if isinstance(error, WnodesError) else UnavailableError(object=host, reason=repr(error))
            unreachable.append(known)
    return Report(host, worst_first(findings), tuple(unreachable))


def _other_version(service: str, host: str, version: str) -> Iterable[Finding]:
    if version != VERSION:
        yield warning(
            f"wnodes-{service}", version, f"is another version than on this machine ({VERSION})",
            f"run the playbook site, with {host} in it",
        )  # fmt: skip


def examine(patterns: list[str], timeout_s: float, begin: Callable[[str], None]) -> list[Report]:
    """Return what is known of the machines: of all on the head node, of this one elsewhere."""
    own = os.uname().nodename.partition(".")[0]

    def look(check: Check) -> None:
        begin(f"{own}: {check.name} …")

    def look_here() -> Report:
        return Report(own, worst_first(here.look(CHECKS, look)))

    if not os.path.exists(site.socket_of("nameserver")):
        choose((own,), patterns)
        return [look_here()]
    reports = []
    known: dict[str, dict[str, str]] = {}
    with suppress(UnavailableError):  # the head node's own checks tell why
        known = nodes(site.nameserver())
    chosen = choose(dict.fromkeys((own, *sorted(known))), patterns)
    if own in chosen:
        reports.append(look_here())
    others = [host for host in chosen if host != own]
    begin(f"asking {len(others)} nodes …")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        reports += pool.map(lambda host: ask(host, known[host], timeout_s), others)
    return reports


def shown(reports: Iterable[Report], verbose: bool) -> RenderableType:
    """Show reports, by host, failures first."""
    parts: list[RenderableType] = []
    for report in reports:
        counts = counted(report.findings)
        summary = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
        parts.append(Text.assemble((report.host, "bold"), f"  {summary or 'nothing is known'}"))
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for column in ("outcome", "check"):
            table.add_column(column, no_wrap=True)
        table.add_column("what", overflow="fold")
        for error in report.unreachable:
            table.add_row(Text("unreachable", style="bold red"), "", _told(error.object, error.value, error))
        for finding in report.findings:
            if verbose or finding.outcome in (Outcome.FAILURE, Outcome.WARNING):
                state = Text(finding.outcome.value, style=_COLOURS[finding.outcome])
                table.add_row(state, finding.check, _told(finding.object, finding.value, finding))
        if table.row_count:
            parts.append(table)
    return Group(*parts)


def _told(object: str, value: str, why: Finding | WnodesError) -> Text:
    text = Text(f"{object} ({value})" if value else object)
    if why.reason:
        text.append(f": {why.reason}")
    return text.append(f"\n→ {why.hint}", style="cyan") if why.hint else text
