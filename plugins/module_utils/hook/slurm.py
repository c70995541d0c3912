# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hook knows of Slurm: the prolog's environment, and how to put a job back when no bait answers."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False  # see main.py
if TYPE_CHECKING:
    from typing import Dict, List

#: what the bait gets to see; values longer than the limit are cut, which makes them invalid rather than dangerous
VISIBLE = (
    "SLURM_JOB_ID",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_JOB_UID",
    "SLURM_JOB_USER",
    "SLURM_JOB_PARTITION",
    "SLURM_JOB_CONSTRAINTS",
    "SLURM_JOB_COMMENT",
    "SLURM_JOB_NODELIST",
    "SLURMD_NODENAME",
)
MAX_VALUE = 4096
ADOPT_DIR = "/var/lib/wnodes/adopt"
TOOL_DIRS = ("/usr/bin", "/usr/local/bin", "/opt/slurm/bin")
CALL_LIMIT_S = 5.0
PUT_BACK_LIMIT_S = 60.0
CLOSED = "wnodes: the bait does not answer"


def job_id(environ: Dict[str, str]) -> str:
    """Return the id to use with Slurm's commands: ``<array>_<task>`` for a task; empty where it is not an id."""
    task, array = environ.get("SLURM_ARRAY_TASK_ID", ""), environ.get("SLURM_ARRAY_JOB_ID", "")
    number = f"{array}_{task}" if task.isdigit() and array.isdigit() else environ.get("SLURM_JOB_ID", "")
    parts = number.split("_")
    good = len(parts) <= 2 and all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts)
    return number if good else ""


def visible(environ: Dict[str, str]) -> Dict[str, str]:
    """Return the variables the bait gets."""
    return {key: environ[key][:MAX_VALUE] for key in VISIBLE if key in environ}


def wants_vm(environ: Dict[str, str]) -> bool:
    """Tell whether the job asked for a VM; in doubt it did."""
    return "vm_" in environ.get("SLURM_JOB_CONSTRAINTS", "")


def put_back(job: str, node: str) -> bool:
    """Requeue and hold ``job``, close ``node``, leave a mark for the bait to adopt the job; tell whether it worked."""
    if not job:
        return False
    deadline = time.monotonic() + PUT_BACK_LIMIT_S
    pause = 0.5
    while time.monotonic() < deadline:
        _call(["update", f"JobId={job}", "Requeue=1"])
        if _call(["requeuehold", job]):
            _leave_mark(job)
            if node and all(letter.isascii() and (letter.isalnum() or letter in "._-") for letter in node):
                _call(["update", f"NodeName={node}", "State=DRAIN", f"Reason={CLOSED}"])
            return True
        time.sleep(pause)
        pause = min(pause * 2, 8.0)
    return False


def _call(arguments: List[str]) -> bool:
    import subprocess  # only the emergency pays for it

    for folder in TOOL_DIRS:
        tool = os.path.join(folder, "scontrol")
        if os.path.exists(tool):
            break
    else:
        return False
    environment = {"PATH": "/usr/bin:/bin"}
    if "SLURM_CONF" in os.environ:
        environment["SLURM_CONF"] = os.environ["SLURM_CONF"]
    try:
        done = subprocess.run(
            [tool, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=CALL_LIMIT_S,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _leave_mark(job: str) -> None:
    try:
        os.makedirs(ADOPT_DIR, mode=0o700, exist_ok=True)
        with open(os.path.join(ADOPT_DIR, job), "w", encoding="ascii"):
            pass
    except OSError:
        pass  # the job is safe in the queue; an administrator can release it
