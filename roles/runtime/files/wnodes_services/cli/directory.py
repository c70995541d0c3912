# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``wnodes forget``, ``backup`` and ``restore``: the nameserver's directory."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from wnodes.directory import sqlite_copy
from wnodes.model.clock import Clock
from wnodes.model.codec import decode
from wnodes.model.errors import NotFoundError, RequestError, StateError, UnavailableError, WnodesError
from wnodes.model.lease import Lease
from wnodes.nameserver.client import NameserverClient
from wnodes.nameserver.config import NameserverConfig

from .. import config as configuration
from . import site
from .common import Json, complete_hosts, print_json

CONFIG = "/etc/wnodes/nameserver.yml"


def forget(
    host: Annotated[
        str, typer.Argument(metavar="HOST", help="As `wnodes hosts` has it.", autocompletion=complete_hosts)
    ],
    as_json: Json = False,
    stopped: Annotated[bool, typer.Option("--stopped", help="Its services were stopped just now.")] = False,
) -> None:
    """Drop leases, configuration and heartbeats of a node that has left the site (on the head node, as root)."""
    directory = site.nameserver()
    alive = [item for item in site.look(Clock()).services if item.host == host and item.role in ("bait", "hypervisor")]
    heard = [item.role for item in alive if item.state != site.DOWN]
    if heard and not stopped:
        raise StateError(
            object=f"node {host}", value=" and ".join(heard), reason="was last seen a moment ago",
            hint="the playbook `node_remove` takes a node away that is alive",
        )  # fmt: skip
    dropped = directory.forget(host)
    if as_json:
        print_json({"host": host, "dropped": dropped})
    else:
        print(*dropped, sep="\n", end="\n" * bool(dropped))
    if not dropped:
        raise NotFoundError(
            object=f"node {host}", reason="the nameserver knows nothing of it", hint="`wnodes hosts` shows all it knows"
        )


def _directory() -> str:
    if not os.path.exists(CONFIG):
        raise UnavailableError(
            object="nameserver", value=CONFIG, reason="is not here", hint="run this on the head node"
        )
    return configuration.load(NameserverConfig, CONFIG).directory


def backup(file: Annotated[str, typer.Argument(help="A new file.")]) -> None:
    """Write leases, image tags, their history and configuration into a file, while all goes on (head node, root)."""
    sqlite_copy.save(_directory(), file)


def restore(
    file: Annotated[str, typer.Argument(help="What `wnodes backup` wrote.")],
    leases: Annotated[
        str, typer.Option(help="A file with the leases that hypervisors hold, as JSON; -: standard input.")
    ] = "",
) -> None:
    """Put a backup back, with the nameserver stopped (head node, root; the playbook `restore` does all of it)."""
    directory = _directory()
    if _answers():
        raise StateError(
            object="nameserver", reason="is running", hint="stop it first: systemctl stop wnodes-nameserver"
        )
    sqlite_copy.load(file, directory, _held(leases), Clock().now())


def _answers() -> bool:
    try:
        NameserverClient.local().status()
    except WnodesError:
        return False
    return True


def _held(file: str) -> tuple[Lease, ...]:
    if not file:
        return ()
    try:
        with open(0 if file == "-" else file, encoding="utf-8", closefd=file != "-") as stream:
            listed = json.load(stream)
    except (OSError, ValueError) as error:
        raise RequestError(object="leases", value=file, reason=f"can't be read: {error}") from None
    return decode(tuple[Lease, ...], listed, "leases")
