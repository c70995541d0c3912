# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What commands have in common: options, exit codes, JSON."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from wnodes.model.clock import Clock
from wnodes.model.codec import encode
from wnodes.model.errors import RequestError, WnodesError

from . import site

WELL, FOUND_PROBLEM, USAGE, UNREACHABLE = 0, 1, 2, 3
#: what the codes mean, for people
EXIT_CODES = {
    WELL: "No problem.",
    FOUND_PROBLEM: "There is a problem, or what was asked for was not found.",
    USAGE: "The command was used wrongly.",
    UNREACHABLE: "A service could not be reached; with several hosts, at least one of them.",
}
REFRESH_S = 1.0
_SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _complete(names: Callable[[site.SiteView], list[str]]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        try:
            return [name for name in names(site.look(Clock())) if name.startswith(incomplete)]
        except WnodesError:  # nobody wants errors in the middle of a line
            return []

    return complete


def vm_names(view: site.SiteView) -> list[str]:
    """Return the names of the VMs that are there."""
    leases = (vm.get("lease") or {} for vm in view.vms if vm["state"] != "GONE")
    return [lease["name"] for lease in leases if lease.get("name")]


complete_hosts = _complete(lambda view: list(view.nodes))
complete_vms = _complete(vm_names)
complete_jobs = _complete(lambda view: [job["lrms_id"] for job in view.jobs])

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
All = Annotated[bool, typer.Option("--all", help="Show also what has ended.")]
HostsFilter = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="HOSTS",
        help="Only these: names, shell patterns (hv*), lists (node[01-04,7]).",
        autocompletion=complete_hosts,
    ),
]
Timeout = Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="How long each node may take to answer.")]


def print_json(value: Any) -> None:
    """Print plain data or dataclasses."""
    print(json.dumps(encode(value), indent=2))


def view_of(hosts: list[str] | None) -> site.SiteView:
    """Return what can be seen of the hosts that are meant.

    :raises NotFoundError: one means no host
    """
    return site.look(Clock()).narrowed(hosts or ())


def complain(error: Exception | str) -> None:
    """Say on standard error what is wrong."""
    print(f"wnodes: {error}", file=sys.stderr)


def seconds(text: str, option: str) -> float:
    """Return a time such as ``90``, ``30s``, ``1h30m`` or ``2d`` in seconds.

    :param option: what it was given for
    :raises RequestError: it is none
    """
    if re.fullmatch(r"[0-9]+", text):
        return float(text)
    if not re.fullmatch(r"([0-9]+[smhd])+", text):
        raise RequestError(object=option, value=text, reason="is not a time", hint="for example 30m, 2h or 1h30m")
    return float(sum(int(number) * _SPANS[unit] for number, unit in re.findall(r"([0-9]+)([smhd])", text)))
