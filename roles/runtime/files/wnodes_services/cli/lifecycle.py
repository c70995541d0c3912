# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``wnodes forget``: a node that has left the site."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from wnodes.model.clock import Clock
from wnodes.model.errors import StateError

from . import site


def forget(
    host: Annotated[str, typer.Argument(metavar="HOST", help="The node's name, as `wnodes status` has it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    stopped: Annotated[bool, typer.Option("--stopped", help="Its services were stopped just now.")] = False,
) -> None:
    """Drop leases, configuration and heartbeats of a node that has left the site (on the head node, as root)."""
    directory = site.nameserver()
    alive = [item for item in site.look(Clock()).services if item.host == host and item.role in ("bait", "hypervisor")]
    heard = [item.role for item in alive if item.state != site.DOWN]
    if heard and not stopped:
        raise StateError(
            object=f"node {host}", value=" and ".join(heard), reason="was heard of a moment ago",
            hint="the playbook `node_remove` takes a node away that is alive",
        )  # fmt: skip
    dropped = directory.forget(host)
    if as_json:
        print(json.dumps({"host": host, "dropped": dropped}, indent=2))
        return
    for what in dropped or (f"nothing is known of {host}",):
        print(what)
