# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports of health checks: which machines are asked, what they answer, how it is shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wnodes.doctor.catalogue import CHECKS, counted, worst_first
from wnodes.doctor.check import HEAD, CheckOutcome, Finding, warning
from wnodes.model.codec import decode, encode
from wnodes.model.errors import UnavailableError, WnodesError
from wnodes.model.hostlist import chosen

from .. import doctor as here
from .. import version as own_version
from . import nodes, site

#: seconds for a connection; the answer has the rest of the time
CONNECT_S = 10.0

_COLOURS = {
    CheckOutcome.FAILURE: "bold red",
    CheckOutcome.WARNING: "yellow",
    CheckOutcome.SKIPPED: "dim",
    CheckOutcome.OK: "green",
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
        return any(finding.outcome is CheckOutcome.FAILURE for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        found = {"counts": counted(self.findings), "findings": encode(self.findings)}
        return {"host": self.host, **found, "unreachable": [error.as_dict() for error in self.unreachable]}


def examine(patterns: Sequence[str], timeout_s: float, begin: Callable[[str], None]) -> list[Report]:
    """Return what is known of the machines: of all on the head node, of this one elsewhere.

    :param begin: told what is done next
    :raises NotFoundError: a pattern means no host, or nothing of ours is installed here
    """
    own, view = os.uname().nodename, None
    if HEAD in here.roles():
        with suppress(UnavailableError):  # the head node's own checks tell why
            view = site.site_view(site.nameserver())
    hosts = chosen(patterns, dict.fromkeys((own, *(view.nodes if view else ()))))
    reports = []
    if own in hosts:
        found = here.look(CHECKS, lambda check: begin(f"{own}: {check.name} …"))
        reports.append(Report(own, worst_first(found)))
    others = [host for host in hosts if host != own]
    return reports + (ask(view, others, timeout_s, begin) if view and others else [])


def ask(view: site.SiteView, hosts: Sequence[str], timeout_s: float, begin: Callable[[str], None]) -> list[Report]:
    """Ask the services of nodes; each tells what it can see."""
    connect_s = min(CONNECT_S, timeout_s)

    def call(target: nodes.NodeService) -> tuple[Finding, ...]:
        client = nodes.client(view, target, connect_s)
        try:
            answer = client.doctor(timeout_s - connect_s)
        finally:
            client.close()
        findings = [decode(Finding, item, "finding") for item in answer["findings"]]
        return (*findings, *other_version(*target, answer["version"]))

    targets = [(role, host) for host in hosts for role in site.NODE_ROLES]
    left = set(targets)

    def told(outcome: nodes.CallOutcome) -> None:
        left.discard(outcome.target)
        begin(f"{len(left)} of {len(targets)} services have not answered yet …")

    begin(f"{len(hosts)} nodes are asked …")
    outcomes = nodes.each(targets, call, timeout_s, told)
    reports = []
    for host in hosts:
        mine = [outcome for outcome in outcomes if outcome.host == host]
        found = [finding for outcome in mine for finding in outcome.answer or ()]
        reports.append(Report(host, worst_first(found), tuple(one.error for one in mine if one.error)))
    return reports


def other_version(role: str, host: str, version: str) -> Iterable[Finding]:
    """Yield a warning if a service is not of this machine's version."""
    if version != own_version():
        yield warning(
            f"wnodes-{role}", version, f"is another version than on this machine ({own_version()})",
            f"run the playbook site, with {host} in it",
        )  # fmt: skip


def shown(reports: Iterable[Report], verbose: bool) -> RenderableType:
    """Show reports, by host, failures first."""
    parts: list[RenderableType] = []
    for report in reports:
        counts = counted(report.findings)
        summary = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
        parts.append(Text.assemble((report.host, "bold"), f"  {summary or 'no results'}"))
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for column in ("outcome", "check"):
            table.add_column(column, no_wrap=True)
        table.add_column("what", overflow="fold")
        for error in report.unreachable:
            table.add_row(Text("unreachable", style="bold red"), "", _told(error.object, error.value, error))
        for finding in report.findings:
            if verbose or finding.outcome in (CheckOutcome.FAILURE, CheckOutcome.WARNING):
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
