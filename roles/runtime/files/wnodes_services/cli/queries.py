# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``wnodes status``, ``jobs``, ``vms``, ``hosts``, ``explain`` and ``leases``: the state as last reported."""

from __future__ import annotations

import re
import time
from typing import Annotated

import typer

from wnodes.model.errors import NotFoundError, RequestError

from . import show, site
from .common import (
    FOUND_PROBLEM,
    REFRESH_S,
    All,
    HostsFilter,
    Json,
    complete_jobs,
    print_json,
    view_of,
)

JOB = "The batch system's id, or ours."
#: as the batch system writes them, with tasks of arrays and parts of heterogeneous jobs, and as we do
JOB_ID = re.compile(r"[0-9]+(_([0-9]+|\[[0-9,:%-]+\])|\+[0-9]+)?|[0-9a-f]{12}")


def status(hosts: HostsFilter = None, as_json: Json = False) -> None:
    """Show which services are alive, and what is wrong."""
    view = view_of(hosts)
    if as_json:
        told = {"ok": view.ok, "scope": view.scope, "now": view.now}
        print_json({**told, "services": view.services, "hints": view.hints})
    else:
        show.console().print(show.status(view))
    if not view.ok:
        raise typer.Exit(FOUND_PROBLEM)


def jobs(
    hosts: HostsFilter = None,
    as_json: Json = False,
    everything: All = False,
    watch: Annotated[bool, typer.Option("--watch", help="Follow until interrupted.")] = False,
) -> None:
    """Show the virtual jobs, and the phase each is in."""
    view = view_of(hosts)
    if as_json:
        print_json([job for job in view.jobs if everything or job["state"] != "CLOSED"])
    elif watch:
        from rich.live import Live  # the others need not wait for it

        with Live(show.jobs(view, everything), console=show.console(), auto_refresh=False) as live:
            while True:
                time.sleep(REFRESH_S)
                live.update(show.jobs(view_of(hosts), everything), refresh=True)
    else:
        show.console().print(show.jobs(view, everything))


def vms(hosts: HostsFilter = None, as_json: Json = False, everything: All = False) -> None:
    """Show the virtual machines."""
    view = view_of(hosts)
    if as_json:
        print_json([vm for vm in view.vms if everything or vm["state"] != "GONE"])
    else:
        show.console().print(show.vms(view, everything))


def hosts(hosts: HostsFilter = None, as_json: Json = False) -> None:
    """Show the nodes, a line each: state, jobs, VMs, resources, images, and whether they are drained."""
    rows = site.hosts(view_of(hosts))
    print_json(rows) if as_json else show.console().print(show.hosts(rows))
    if any(row["problems"] for row in rows):
        raise typer.Exit(FOUND_PROBLEM)


def explain(
    job_id: Annotated[str, typer.Argument(metavar="JOBID", help=JOB, autocompletion=complete_jobs)],
    as_json: Json = False,
) -> None:
    """Show the state of a job, what it waits for, and why."""
    view = view_of(None)
    job = site.find_job(view, job_id)
    if job is None and not JOB_ID.fullmatch(job_id):
        raise RequestError(
            object="job", value=job_id, reason="is not a job id",
            hint="for example 4711, 4711_7 (a task of an array) or 4711+1 (a part of a heterogeneous job)",
        )  # fmt: skip
    if job is None:
        raise NotFoundError(
            object=f"job {job_id}",
            reason="no bait knows it" if view.scope == "site" else "the bait of this node does not know it",
            hint="it was not dispatched yet, asked for no VM, is long over, or is somebody else's; "
            f"ask {'' if view.scope == 'site' else 'on the head node, or '}the batch system, for example"
            f" `scontrol show job {job_id}`",
        )  # fmt: skip
    if as_json:
        print_json({**job, "seconds": site.seconds(job, view.now)})
    else:
        show.console().print(show.explain(job, view.now))


def leases(as_json: Json = False) -> None:
    """Show the leased host names (on the head node, as root)."""
    directory = site.nameserver()
    entries = directory.leases()
    print_json(entries) if as_json else show.console().print(show.leases(entries, directory.status()["now"]))
