# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hook: its decisions, with the node and the batch system played."""

from __future__ import annotations

import json

import pytest

from wnodes.hook import emergency, main, slurm, socketcall

JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_CONSTRAINTS": "vm_a_b_c", "SLURMD_NODENAME": "hv1"}


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    seen: dict[str, object] = {"answer": {}, "put_back": True}

    def ask(path: str, message: dict[str, object], limit_s: float) -> object:
        seen["asked"] = message
        return seen["answer"]

    def put_back(job: str, node: str) -> object:
        seen["stopped"] = (job, node)
        return seen["put_back"]

    monkeypatch.setattr(socketcall, "ask", ask)
    monkeypatch.setattr(emergency, "put_back", put_back)
    return seen


@pytest.mark.parametrize("action", ["run", "stopped"])
def test_a_decided_job_ends_the_hook_well(played: dict[str, object], action: str) -> None:
    played["answer"] = {"action": action}
    assert main.main(["slurm", "prolog"], dict(JOB)) == 0
    assert "stopped" not in played


def test_without_an_answer_a_virtual_job_is_put_back(played: dict[str, object]) -> None:
    assert main.main(["slurm", "prolog"], dict(JOB)) == 0
    assert played["stopped"] == ("7", "hv1")


def test_a_virtual_job_that_can_not_be_put_back_never_runs_bare(played: dict[str, object]) -> None:
    played["put_back"] = False
    assert main.main(["slurm", "prolog"], dict(JOB)) == main.KEEP_OFF


def test_without_an_answer_a_real_job_runs(played: dict[str, object]) -> None:
    assert main.main(["slurm", "prolog"], {**JOB, "SLURM_JOB_CONSTRAINTS": "gpu"}) == 0
    assert "stopped" not in played


def test_the_epilog_always_ends_well(played: dict[str, object]) -> None:
    assert main.main(["slurm", "epilog"], dict(JOB)) == 0
    assert "stopped" not in played


def test_hostile_values_reach_the_bait_as_data_and_nothing_else(played: dict[str, object]) -> None:
    evil = '$(touch /tmp/x)\n"; rm -rf / #'
    main.main(["slurm", "prolog"], {**JOB, "SLURM_JOB_COMMENT": evil, "LD_PRELOAD": evil, "SPANK_X": evil})
    message = played["asked"]
    assert isinstance(message, dict)
    assert message["environment"]["SLURM_JOB_COMMENT"] == evil
    assert set(message["environment"]) <= set(slurm.VISIBLE)
    assert "\n" not in json.dumps(message)


@pytest.mark.parametrize(
    ("environ", "number"),
    [
        ({"SLURM_JOB_ID": "9"}, "9"),
        ({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "8", "SLURM_ARRAY_TASK_ID": "1"}, "8_1"),
        ({"SLURM_JOB_ID": "9;id"}, ""),
        ({"SLURM_JOB_ID": "../../etc"}, ""),
        ({}, ""),
    ],
)
def test_only_what_is_an_id_is_used_as_one(environ: dict[str, str], number: str) -> None:
    assert slurm.job_id(environ) == number


def test_a_call_that_is_not_ours_is_told_so() -> None:
    assert main.main(["slurm", "rm"], {}) == 2
