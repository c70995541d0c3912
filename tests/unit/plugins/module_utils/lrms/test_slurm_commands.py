# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a failed command of Slurm's means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wnodes.lrms.slurm_commands import failure
from wnodes.model.errors import CommandFailed, LrmsError, LrmsRefused, NotFoundError

RECORDED = sorted((Path(__file__).parent / "recorded").glob("slurm-*.json"))
MEANINGS = {"nothing": LrmsError, "refused": LrmsRefused, "absent": NotFoundError}


def meaning(said: str) -> LrmsError | NotFoundError:
    error = failure(CommandFailed(object="squeue", value="squeue -j 7", reason=f"exit code 1: {said}"))
    assert isinstance(error, (LrmsError, NotFoundError))
    return error


@pytest.mark.parametrize(
    "said",
    [
        "slurm_load_jobs error: Invalid job id specified",
        "Invalid job id specified for job 99999\nslurm_suspend error: Invalid job id specified",
        "Node vwn-100 not found",
        "squeue: error: Invalid node name vwn-100",
        "slurm_update error: Invalid node name specified",
        "Error updating the reservation: Requested reservation is invalid",
        "scontrol: error: failed to delete nodes x\ndelete_node nodename=x: Invalid node name specified",
    ],
)
def test_absence_is_what_slurmctld_says(said: str) -> None:
    assert isinstance(meaning(said), NotFoundError)


@pytest.mark.parametrize(
    "said",
    [
        'squeue: error: If munged is up, restart with --num-threads=10\nFailed to access "/run/munge/munge.socket.2": '
        "No such file or directory\nslurm_load_jobs error: Protocol authentication error",
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        "slurm_load_node error: Socket timed out on send/recv operation",
        "did not end within 15 s",
        "Resource temporarily unavailable for job 7",
        "scontrol: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host\n"
        "scontrol: fatal: Could not establish a configuration source",
        "Node x: could not be started: No such file or directory",
        "Invalid job id specified\nsqueue: error: Munge encode failed: Failed to access socket",
    ],
)
def test_of_trouble_nothing_is_concluded(said: str) -> None:
    error = meaning(said)
    assert type(error) is LrmsError
    cause = next(
        (cause for word, cause in (("unge", "munge"), ("temporarily", "MaxJobCount")) if word in said), "slurmctld"
    )
    assert cause in error.hint


@pytest.mark.parametrize(
    "said",
    [
        "Requested reservation is in use",
        "slurm_update error: Access/permission denied",
        "slurm_update error: Requested node configuration is not available",
        "Job is pending execution for job 7",
    ],
)
def test_what_slurmctld_would_not_do_is_no_fault_of_its_own(said: str) -> None:
    error = meaning(said)
    assert isinstance(error, LrmsRefused)
    assert error.hint == ""


def test_answers_of_both_releases_are_recorded() -> None:
    versions = {path.name.split("-")[1].rpartition(".")[0] for path in RECORDED}
    assert versions == {"22.05", "24.11"}


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_what_a_real_slurm_has_said_is_read_rightly(path: Path) -> None:
    wrong = []
    for answer in json.loads(path.read_text(encoding="utf-8")):
        said = (answer["stderr"].strip() or answer["stdout"].strip())[-2000:]
        reason = f"exit code {answer['rc']}: {said}"
        error = failure(CommandFailed(object=answer["argv"][0], value=" ".join(answer["argv"]), reason=reason))
        if type(error) is not MEANINGS[answer["means"]]:
            wrong.append((answer["argv"], said, error))
    assert wrong == []
