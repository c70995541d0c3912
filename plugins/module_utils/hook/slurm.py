# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hook knows of Slurm: the prolog's environment."""

from __future__ import annotations

TYPE_CHECKING = False  # see main.py
if TYPE_CHECKING:
    from typing import Dict

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


def job_id(environ: Dict[str, str]) -> str:
    """Return the id to use with Slurm's commands: ``<array>_<task>`` for a task; empty where it is not an id."""
    task, array = environ.get("SLURM_ARRAY_TASK_ID", ""), environ.get("SLURM_ARRAY_JOB_ID", "")
    number = f"{array}_{task}" if task.isdigit() and array.isdigit() else environ.get("SLURM_JOB_ID", "")
    return number if is_id(number) else ""


def is_id(text: str) -> bool:
    """Tell whether ``text`` is ``<job>`` or ``<array>_<task>``."""
    parts = text.split("_")
    return len(parts) <= 2 and all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts)


def visible(environ: Dict[str, str]) -> Dict[str, str]:
    """Return the variables the bait gets. Users may write any bytes; what is no UTF-8 becomes question marks."""
    given = {key: environ[key][:MAX_VALUE] for key in VISIBLE if key in environ}
    return {key: value.encode("utf-8", "replace").decode("utf-8") for key, value in given.items()}


def wants_vm(environ: Dict[str, str]) -> bool:
    """Tell whether the job asked for a VM, or gets one by a rule of the site; in doubt it does."""
    if "vm_" in environ.get("SLURM_JOB_CONSTRAINTS", ""):
        return True
    from . import statics  # only the emergency pays for it

    return statics.chosen(environ.get("SLURM_JOB_USER", ""), environ.get("SLURM_JOB_PARTITION", ""))
