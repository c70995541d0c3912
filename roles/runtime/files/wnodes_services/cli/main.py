# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``wnodes``: exit codes are 0 well, 1 a problem or nothing found, 2 wrong usage, 3 a service can't be reached."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated, Any

import typer

from wnodes.model.errors import RequestError, UnavailableError, WnodesError

from .. import version
from .common import FOUND_PROBLEM, UNREACHABLE, USAGE, complain
from .usage import Command, Group

NAME = "wnodes"
#: the variable by which a shell asks for completions
COMPLETE = "_WNODES_COMPLETE"

#: command → the file beside this one that has it: as a function of its name, or a group of commands as ``app``
COMMANDS = {
    "status": "queries",
    "hosts": "queries",
    "jobs": "queries",
    "vms": "queries",
    "explain": "queries",
    "leases": "queries",
    "images": "images",
    "rules": "rules",
    "doctor": "doctor",
    "drain": "drain",
    "undrain": "drain",
    "console": "console",
    "support-bundle": "bundle",
    "forget": "directory",
    "backup": "directory",
    "restore": "directory",
}


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"{NAME} {version() or 'of a checkout'}")
        raise typer.Exit


def _wnodes(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Show the version.")
    ] = False,
) -> None:
    """Worker nodes on demand: state and administration. On the head node: the whole site; elsewhere: this node. Users
    other than root see their own jobs only.
    """


def application(only: str = "") -> typer.Typer:
    """Return the command line; with the name of a command, that one alone, for the files of all take time to load."""
    made = typer.Typer(
        callback=_wnodes, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, cls=Group,
        rich_markup_mode=None, context_settings={"help_option_names": ["--help", "-h"]},
    )  # fmt: skip
    for name, file in COMMANDS.items():
        if only in ("", name):
            module = importlib.import_module(f".{file}", __package__)
            if hasattr(module, "app"):
                for below in module.app.registered_commands:
                    below.cls = Command
                made.add_typer(module.app, name=name, cls=Group)
            else:
                made.command(name, cls=Command)(getattr(module, name.replace("-", "_")))
    return made


def __getattr__(name: str) -> Any:
    if name == "app":
        return application()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main() -> None:
    """Run the command line."""
    completing = COMPLETE in os.environ
    if completing:
        typer.completion.completion_init()
    asked = sys.argv[1] if len(sys.argv) > 1 and not completing else ""
    try:
        application(asked if asked in COMMANDS else "")(prog_name=NAME)
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
