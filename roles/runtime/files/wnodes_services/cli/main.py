# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``wnodes``: exit codes are 0 well, 1 a problem or nothing found, 2 wrong usage, 3 a service can't be reached."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated, Any

import typer
from rich.live import Live

from wnodes.model.clock import Clock
from wnodes.model.codec import encode
from wnodes.model.errors import NotFoundError, UnavailableError, WnodesError

from . import images, lifecycle, show, site

FOUND_PROBLEM, UNREACHABLE = 1, 3
REFRESH_S = 1.0

app = typer.Typer(
    help="What the worker nodes on demand of this site do. On the head node: the whole site; elsewhere: this node. "
    "Who is not root sees only its own jobs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(images.app, name="images")
for command in (lifecycle.forget, lifecycle.backup, lifecycle.restore):
    app.command()(command)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
All = Annotated[bool, typer.Option("--all", help="Also what is over.")]


def _print_json(value: Any) -> None:
    print(json.dumps(encode(value), indent=2))


@app.command()
def status(as_json: Json = False) -> None:
    """Show which services are alive, and what is wrong."""
    view = site.look(Clock())
    if as_json:
        _print_json({"ok": view.ok, "scope": view.scope, "now": view.now, "services": view.services})
    else:
        show.console().print(show.status(view))
    if not view.ok:
        raise typer.Exit(FOUND_PROBLEM)


@app.command()
def jobs(
    as_json: Json = False,
    everything: All = False,
    watch: Annotated[bool, typer.Option("--watch", help="Follow until interrupted.")] = False,
) -> None:
    """Show the virtual jobs, and the phase each is in."""
    view = site.look(Clock())
    if as_json:
        _print_json([job for job in view.jobs if everything or job["state"] != "CLOSED"])
    elif watch:
        with Live(show.jobs(view, everything), console=show.console(), auto_refresh=False) as live:
            while True:
                time.sleep(REFRESH_S)
                live.update(show.jobs(site.look(Clock()), everything), refresh=True)
    else:
        show.console().print(show.jobs(view, everything))


@app.command()
def vms(as_json: Json = False, everything: All = False) -> None:
    """Show the virtual machines."""
    view = site.look(Clock())
    if as_json:
        _print_json([vm for vm in view.vms if everything or vm["state"] != "GONE"])
    else:
        show.console().print(show.vms(view, everything))


@app.command()
def explain(job_id: Annotated[str, typer.Argument(metavar="JOBID")], as_json: Json = False) -> None:
    """Show where a job is on its way, what it waits for, and why."""
    view = site.look(Clock())
    job = site.find_job(view, job_id)
    if job is None:
        raise NotFoundError(
            object=f"job {job_id}", reason="no bait knows it",
            hint="it was not dispatched yet, asked for no VM, is long over, or is somebody else's; "
            f"ask the batch system, for example `scontrol show job {job_id}`",
        )  # fmt: skip
    if as_json:
        _print_json({**job, "seconds": site.seconds(job, view.now)})
    else:
        show.console().print(show.explain(job, view.now))


@app.command()
def leases(as_json: Json = False) -> None:
    """Show the leased host names (on the head node, as root)."""
    directory = site.nameserver()
    entries = directory.leases()
    _print_json(entries) if as_json else show.console().print(show.leases(entries, directory.status()["now"]))


def main() -> None:
    """Run the command line."""
    try:
        app()
    except WnodesError as error:
        print(f"wnodes: {error}", file=sys.stderr)
        raise SystemExit(UNREACHABLE if isinstance(error, UnavailableError) else FOUND_PROBLEM) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
