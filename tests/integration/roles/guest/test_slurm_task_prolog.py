# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Slurm is told of a task's environment, by the program as it is installed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[4] / "roles/guest/files/slurm-task-prolog"
OWN = "unset SLURM_SCRIPT_CONTEXT\n"


def told(tmp_path: Path) -> str:
    """Return the program's output, with its file in ``tmp_path``; PATH is a user's, and empty."""
    place = "environment=/run/wnodes-job-environment\n"
    text = PROGRAM.read_text()
    assert place in text
    text = text.replace(place, f"environment={tmp_path}/job-environment\n")
    done = subprocess.run(["/bin/sh", "-c", text], env={"PATH": ""}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def test_on_a_node_it_takes_away_only_what_slurm_adds_for_it(tmp_path: Path) -> None:
    assert told(tmp_path) == OWN


@pytest.mark.parametrize("end", ["\n", ""])
def test_in_a_vm_it_tells_each_line_of_the_file_and_runs_none(tmp_path: Path, end: str) -> None:
    lines = "unset SLURM_RESTART_COUNT\nexport SLURM_JOB_PARTITION=main\nexport A=$(id)\\n`id` *"
    (tmp_path / "job-environment").write_text(lines + end)
    assert told(tmp_path) == f"{OWN}{lines}\n"
