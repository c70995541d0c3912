# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hook knows of Slurm: the prolog's environment, and how to put a job back when no bait answers."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False  # see main.py
if TYPE_CHECKING:
    from typing import Dict, List, Optional

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
    return number if _is_id(number) else ""


def _is_id(text: str) -> bool:
    parts = text.split("_")
    return len(parts) <= 2 and all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts)


def visible(environ: Dict[str, str]) -> Dict[str, str]:
    """Return the variables the bait gets."""
    return {key: environ[key][:MAX_VALUE] for key in VISIBLE if key in environ}


def wants_vm(environ: Dict[str, str]) -> bool:
    """Tell whether the job asked for a VM, or gets one by a rule of the site; in doubt it does."""
    if "vm_" in environ.get("SLURM_JOB_CONSTRAINTS", ""):
        return True
    from . import statics  # only the emergency pays for it

    return statics.chosen(environ.get("SLURM_JOB_USER", ""), environ.get("SLURM_JOB_PARTITION", ""))


def put_back(job: str, node: str) -> bool:
    """Requeue and hold ``job``, close ``node``, leave a mark for the bait to adopt the job; tell whether it worked."""
    if not job:
        return False
    if not all(letter.isascii() and (letter.isalnum() or letter in "._-") for letter in node):
        node = ""
    deadline = time.monotonic() + PUT_BACK_LIMIT_S
    pause = 0.5
    while time.monotonic() < deadline:
        exact = _exact(job, node)
        _call("scontrol", ["update", f"JobId={exact}", "Requeue=1"])
        if _call("scontrol", ["requeuehold", exact]) is not None:
            _leave_mark(exact)
            if node:
                _call("scontrol", ["update", f"NodeName={node}", "State=DRAIN", f"Reason={CLOSED}"])
            return True
        time.sleep(pause)
        pause = min(pause * 2, 8.0)
    return False


def _exact(job: str, node: str) -> str:
    """Return the id that means ``job`` alone: the last task's number means all tasks of its array.

    Seen on 22.05.8 and 24.11.5: a prolog is told nothing of the array. Where Slurm does not say, the number has to do.
    """
    if "_" in job:
        return job
    where = ["-w", node] if node else []
    shown = _call("squeue", ["-h", "-a", "-r", "-t", "CONFIGURING,RUNNING", *where, "-O", "JobArrayID:64,JobID:16"])
    for row in map(str.split, (shown or "").splitlines()):
        if len(row) == 2 and row[1] == job and _is_id(row[0]):
            return row[0]
    return job


def _call(program: str, arguments: List[str]) -> Optional[str]:
    """Return what a command of Slurm's says; None where it fails."""
    import subprocess  # only the emergency pays for it

    for folder in TOOL_DIRS:
        tool = os.path.join(folder, program)
        if os.path.exists(tool):
            break
    else:
        return None
    environment = {"PATH": "/usr/bin:/bin"}
    if "SLURM_CONF" in os.environ:
        environment["SLURM_CONF"] = os.environ["SLURM_CONF"]
    try:
        done = subprocess.run(
            [tool, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="ascii",
            errors="replace",
            timeout=CALL_LIMIT_S,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def _leave_mark(job: str) -> None:
    try:
        os.makedirs(ADOPT_DIR, mode=0o700, exist_ok=True)
        with open(os.path.join(ADOPT_DIR, job), "w", encoding="ascii"):
            pass
    except OSError:
        pass  # the job is safe in the queue; an administrator can release it
