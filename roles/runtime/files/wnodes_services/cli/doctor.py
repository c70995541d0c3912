# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``wnodes doctor``: health checks of the machines of the site."""

from __future__ import annotations

import logging
import os
from typing import Annotated

import typer
from rich.console import Console

from wnodes.model.clock import Clock
from wnodes.model.errors import AuthError

from . import doctor_report, show
from .common import FOUND_PROBLEM, UNREACHABLE, HostsFilter, Json, Timeout, print_json

#: a boot that hangs takes 20 of them
TIMEOUT_S = 60.0
#: columns of what is read in a mail
PIPED = 100


def doctor(
    hosts: HostsFilter = None,
    as_json: Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show also checks that passed or were skipped.")] = False,
    timeout: Timeout = TIMEOUT_S,
) -> None:
    """Check machines and services and say how to fix faults. On the head node: the whole site; elsewhere: this node."""
    if os.geteuid() != 0:
        raise AuthError(object="wnodes doctor", reason="looks at what only root may see", hint="run it as root")
    # what the library logs is among its findings
    logging.getLogger("wnodes").addHandler(logging.NullHandler())
    with Console(stderr=True).status("") as status:
        reports = doctor_report.examine(hosts or (), timeout, status.update)
    if as_json:
        print_json({"now": Clock().now(), "hosts": [report.as_dict() for report in reports]})
    else:
        show.console(PIPED).print(doctor_report.shown(reports, verbose))
    if any(report.unreachable for report in reports):
        raise typer.Exit(UNREACHABLE)
    if any(report.failed for report in reports):
        raise typer.Exit(FOUND_PROBLEM)
