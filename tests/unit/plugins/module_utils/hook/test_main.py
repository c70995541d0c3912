# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hook: its decisions, with the node and the batch system played."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wnodes.bait import hooksocket
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


@settings(deadline=None)
@given(st.binary().filter(lambda data: b"\0" not in data))
def test_whatever_bytes_a_user_writes_the_question_is_one_line_of_text(data: bytes) -> None:
    value = data.decode("utf-8", "surrogateescape")  # as Python reads its environment
    message = slurm.visible({"SLURM_JOB_COMMENT": value, "SLURM_JOB_USER": value, "LD_PRELOAD": value})
    line = json.dumps(message).encode("ascii")
    assert b"\n" not in line
    assert json.loads(line)["SLURM_JOB_COMMENT"].encode("utf-8") == value.encode("utf-8", "replace")[: slurm.MAX_VALUE]
    assert list(message) == ["SLURM_JOB_USER", "SLURM_JOB_COMMENT"]


@pytest.mark.parametrize("letter", ["\U0001f600", "\x01", "\udcff", '"'])
def test_no_comment_is_too_long_for_the_bait_to_hear_of(letter: str) -> None:
    long = {"SLURM_JOB_CONSTRAINTS": "v" * 100_000, "SLURM_JOB_NODELIST": "n" * 100_000}
    short = dict.fromkeys(slurm.VISIBLE, "x" * 255)
    environment = slurm.visible({**short, **long, "SLURM_JOB_COMMENT": letter * 100_000})
    message = {"event": "prolog", "job_id": "7" * 21, "environment": environment}
    assert len(json.dumps(message)) < hooksocket.MAX_QUESTION


def test_a_user_s_name_may_hold_a_backslash() -> None:
    assert slurm.visible({"SLURM_JOB_USER": "DOM\\alice"}) == {"SLURM_JOB_USER": "DOM\\alice"}


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
