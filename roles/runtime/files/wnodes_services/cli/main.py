# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``wnodes``: exit codes are 0 well, 1 a problem or nothing found, 2 wrong usage, 3 a service can't be reached."""

from __future__ import annotations

import os

import typer

from wnodes.model.errors import RequestError, UnavailableError, WnodesError

from . import bundle, console, drain, images, lifecycle, look
from .common import FOUND_PROBLEM, UNREACHABLE, USAGE, complain

NAME = "wnodes"
#: the variable by which a shell asks for completions
COMPLETE = "_WNODES_COMPLETE"

app = typer.Typer(
    help="What the worker nodes on demand of this site do. On the head node: the whole site; elsewhere: this node. "
    "Who is not root sees only its own jobs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(look.status)
app.command()(look.hosts)
app.command()(look.jobs)
app.command()(look.vms)
app.command()(look.explain)
app.command()(look.leases)
app.command()(drain.drain)
app.command()(drain.undrain)
app.command()(console.console)
app.command("support-bundle")(bundle.support_bundle)
app.add_typer(images.app, name="images")
for command in (lifecycle.forget, lifecycle.backup, lifecycle.restore):
    app.command()(command)


def main() -> None:
    """Run the command line."""
    if COMPLETE in os.environ:
        typer.completion.completion_init()
    try:
        app(prog_name=NAME)
    except RequestError as error:
        complain(error)
        raise SystemExit(USAGE) from None
    except WnodesError as error:
        complain(error)
        raise SystemExit(UNREACHABLE if isinstance(error, UnavailableError) else FOUND_PROBLEM) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
