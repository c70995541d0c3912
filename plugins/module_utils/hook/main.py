# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program a batch system's prolog and epilog call on a node. Standard library only.

It asks the bait over a Unix socket whether the job may start here. It runs as root on what users wrote, so nothing of
that reaches a shell, a path or an argument; it ends within its limits, and always with an exit code that keeps the job
and the node. Every job waits for it, so it imports next to nothing before it must.
"""

from __future__ import annotations

import os
import sys

from . import slurm

TYPE_CHECKING = False  # importing typing would take longer than the rest
if TYPE_CHECKING:
    from typing import Dict, List

SOCKET = "/run/wnodes/hook.sock"
#: the bait needs a few LRMS calls for its answer; a restarting bait some seconds more
PROLOG_LIMIT_S = 20.0
EPILOG_LIMIT_S = 2.0

RUN, KEEP_OFF = 0, 1


def main(argv: List[str], environ: Dict[str, str]) -> int:
    """Handle ``<lrms> prolog|epilog`` and return the exit code for the batch system."""
    if len(argv) != 2 or argv[0] != "slurm" or argv[1] not in ("prolog", "epilog"):
        print("usage: wnodes-hook slurm prolog|epilog", file=sys.stderr)
        return 2
    event = argv[1]
    job_id = slurm.job_id(environ)
    from . import socketcall

    message = {"event": event, "job_id": job_id, "environment": slurm.visible(environ)}
    answer = socketcall.ask(SOCKET, message, PROLOG_LIMIT_S if event == "prolog" else EPILOG_LIMIT_S)
    if event == "epilog" or answer.get("action") in ("run", "stopped"):
        return RUN
    if not slurm.wants_vm(environ):
        return RUN
    from . import emergency

    return RUN if emergency.put_back(job_id, environ.get("SLURMD_NODENAME", "")) else KEEP_OFF


def start() -> None:
    """Entry of the installed script."""
    sys.exit(main(sys.argv[1:], dict(os.environ)))
