# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hook's emergency: a job is kept off the node without a bait, and no other job is touched.

What Slurm says here was recorded on 22.05.8, with jobs that waited for their prolog.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from wnodes.hook import emergency
from wnodes.lrms import slurm

UNKNOWN = "slurm_load_jobs error: Invalid job id specified\n"
PENDING = "Job is pending execution for job 7\n"
SILENT = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"
OPEN = "NodeName=hv1 Arch=x86_64 CPUAlloc=1 State=MIXED ThreadsPerCore=1 Partitions=main Reason=x\n"
LOOK = f"squeue -h -a -r -t all -j 7 -O {emergency._FORMAT}"
CLOSING = ["scontrol show -o node hv1", f"scontrol update NodeName=hv1 State=DRAIN Reason={emergency.CLOSED}"]


def row(**values: str) -> str:
    columns = {
        "id": "7",
        "number": "7",
        "state": "RUNNING",
        "host": "hv1",
        "batch": "1",
        "requeue": "1",
        "whole": "N/A",
    }
    return "".join(f"{value:64}\x1f" for value in {**columns, **values}.values()) + "\n"


class Played:
    """Slurm's commands, each of which takes ``takes_s``.

    ``said``: what those that begin with certain words say: exit code and text; of a list, one after the other.
    """

    def __init__(self, adopt: Path) -> None:
        self.said: dict[str, list[tuple[int | None, str]]] = {"scontrol show -o node": [(0, OPEN)]}
        self.calls: list[str] = []
        self.limits: list[float] = []
        self.takes_s, self.now, self.adopt = 0.0, 0.0, adopt
        self.left: dict[str, str] = {}

    def run(self, argv: list[str], limit_s: float) -> tuple[int | None, str]:
        said = " ".join(argv)
        self.calls.append(said)
        self.limits.append(limit_s)
        self.left[said] = self.word("7")
        self.now += min(self.takes_s, limit_s)
        if self.takes_s > limit_s:
            return None, ""
        for start, answers in self.said.items():
            if said.startswith(start):
                return answers.pop(0) if len(answers) > 1 else answers[0]
        return 0, ""

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def put_back(self, job: str = "7", node: str = "hv1") -> bool:
        return emergency.put_back(job, node, self.run, lambda: self.now, self.sleep)

    def word(self, job: str) -> str:
        file = self.adopt / job
        return file.read_text() if file.is_file() else "none"

    def words(self) -> list[str]:
        return sorted(os.listdir(self.adopt)) if self.adopt.is_dir() else []


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Played:
    monkeypatch.setattr(emergency, "ADOPT_DIR", str(tmp_path / "adopt"))
    played = Played(tmp_path / "adopt")
    played.said["squeue"] = [(0, row())]
    return played


def test_a_job_is_requeued_and_held_its_node_closed_and_word_left_before(played: Played) -> None:
    assert played.put_back()
    assert played.calls == [LOOK, "scontrol requeuehold 7", *CLOSING]
    assert played.left["scontrol requeuehold 7"] == played.word("7") == "Requeue=1\n"
    assert played.words() == ["7"]


def test_a_job_that_must_not_be_requeued_is_all_the_same_and_the_bait_is_told_what_its_owner_said(
    played: Played,
) -> None:
    played.said["squeue"] = [(0, row(requeue="0")), (0, row(requeue="1"))]
    played.said["scontrol requeuehold"] = [(1, "slurm_update error: try again"), (0, "")]
    assert played.put_back()
    assert played.calls[:3] == [LOOK, "scontrol update JobId=7 Requeue=1", "scontrol requeuehold 7"]
    assert played.word("7") == "Requeue=0\n"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((0, row(state="PENDING", host="")), id="put back"),
        pytest.param((0, row(state="COMPLETING")), id="leaving"),
        pytest.param((0, row(state="CANCELLED")), id="cancelled"),
        pytest.param((0, row(host="hv2")), id="elsewhere"),
        pytest.param((1, UNKNOWN), id="forgotten"),
        pytest.param((0, ""), id="unknown"),
    ],
)
def test_a_job_that_does_not_run_here_any_more_needs_nothing(played: Played, answer: tuple[int, str]) -> None:
    played.said["squeue"] = [answer]
    assert played.put_back()
    assert played.calls == [LOOK]
    assert played.words() == []


@pytest.mark.parametrize("state", ["RUNNING", "CONFIGURING", "SUSPENDED", "SOMETHING_NEW"])
@pytest.mark.parametrize("host", ["hv1", "", "hv[1-2]", "hv1,hv3"])
def test_a_job_that_may_be_about_to_start_here_is_stopped(played: Played, state: str, host: str) -> None:
    played.said["squeue"] = [(0, row(state=state, host=host))]
    assert played.put_back()
    assert "scontrol requeuehold 7" in played.calls


def test_what_a_slow_bait_did_meanwhile_is_no_failure(played: Played) -> None:
    played.said["squeue"] = [(0, row()), (0, row(state="PENDING", host=""))]
    played.said["scontrol requeuehold"] = [(1, PENDING)]
    assert played.put_back()
    assert played.calls[:3] == [LOOK, "scontrol requeuehold 7", LOOK]


def test_a_refused_requeue_is_success_only_if_a_look_says_so(played: Played) -> None:
    played.said["scontrol requeuehold"] = [(1, PENDING)]
    assert not played.put_back()
    assert played.word("7") == "Requeue=1\nFailed=1\n"
    assert played.calls[-2:] == CLOSING  # by our own text, which Slurm's own would not replace


def test_a_requeue_that_came_too_late_to_be_heard_of_is_one(played: Played) -> None:
    played.said["squeue"] = [(0, row()), (0, row(state="COMPLETING"))]
    played.said["scontrol requeuehold"] = [(None, "")]
    assert played.put_back()
    assert played.word("7") == "Requeue=1\n"
    assert played.calls[-2:] == CLOSING


@pytest.mark.parametrize("requeue", ["0", "1"])
def test_a_job_with_a_terminal_is_told_why_and_cancelled(played: Played, requeue: str) -> None:
    played.said["squeue"] = [(0, row(batch="0", requeue=requeue))]
    played.said["scontrol notify"] = [(1, "no listener")]
    assert played.put_back()
    assert played.calls == [LOOK, f"scontrol notify 7 {emergency.NO_TERMINAL}", "scancel 7", *CLOSING]
    assert played.words() == []


def test_hook_and_bait_tell_it_in_the_same_words() -> None:
    assert emergency.NO_TERMINAL == slurm.NO_TERMINAL


def test_a_part_of_a_heterogeneous_job_is_cancelled_with_the_others_by_a_plain_number(played: Played) -> None:
    played.said["squeue"] = [(0, row(id="6+1", whole="6"))]
    assert played.put_back()
    assert played.calls == [LOOK, "scancel 6", *CLOSING]


def test_a_cancel_that_fails_is_tried_again(played: Played) -> None:
    played.said["squeue"] = [(0, row(batch="0"))]
    played.said["scancel"] = [(1, ""), (0, "")]
    assert played.put_back()
    assert played.calls.count("scancel 7") == 2


def test_the_last_task_of_an_array_is_put_back_alone_and_marked_so_that_it_alone_is_freed(played: Played) -> None:
    waits = row(id="7_3", state="PENDING", host="")
    played.said["squeue"] = [(0, waits + row(id="7_1", number="8") + row(id="7_2"))]
    assert played.put_back()
    assert "scontrol requeuehold 7_2" in played.calls
    assert played.words() == ["7_2"]


def test_a_task_that_is_known_as_one_is_put_back_by_that(played: Played) -> None:
    played.said["squeue"] = [(0, row(id="7_2", number="9"))]
    assert played.put_back("7_2")
    assert "scontrol requeuehold 7_2" in played.calls


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((0, "garbage"), id="garbage"),
        pytest.param((0, row(number="7;id")), id="no number"),
        pytest.param((0, row(id="8", number="8")), id="another job"),
        pytest.param((1, SILENT), id="silent"),
        pytest.param((1, f"cannot reach {UNKNOWN.strip()}: no route"), id="in passing"),
        pytest.param((None, ""), id="no squeue"),
        pytest.param((None, UNKNOWN), id="late"),
    ],
)
def test_nothing_is_done_to_a_job_that_was_not_seen(played: Played, answer: tuple[int | None, str]) -> None:
    played.said["squeue"] = [answer]
    assert not played.put_back()
    assert set(played.calls) == {LOOK, *CLOSING}
    assert played.word("7") == "Failed=1\n"


def test_a_slurm_that_is_silent_for_a_while_is_asked_again(played: Played) -> None:
    played.said["squeue"] = [(1, SILENT), (1, SILENT), (0, row())]
    assert played.put_back()
    assert played.now == 0.5 + 1.0


@pytest.mark.parametrize("takes_s", [0.0, 4.5, 14.0, 1000.0])
def test_it_ends_in_time_however_slow_slurm_is(played: Played, takes_s: float) -> None:
    played.takes_s = takes_s
    played.said["scontrol requeuehold"] = [(1, "no")]
    assert not played.put_back()
    assert played.now <= emergency.LIMIT_S
    assert max(played.limits) <= emergency.CALL_LIMIT_S
    assert "Failed=1\n" in played.word("7")


def test_a_slow_slurm_suffices(played: Played) -> None:
    played.takes_s = 9.0
    played.said["squeue"] = [(0, row(requeue="0"))]
    assert played.put_back()
    assert played.calls[-1] == CLOSING[-1]


@pytest.mark.parametrize(
    "answer",
    [(0, OPEN.replace("MIXED", "MIXED+DRAIN")), (1, "Node hv1 not found"), (0, ""), (None, "")],
    ids=["drained", "unknown", "mute", "silent"],
)
def test_a_node_that_others_have_closed_keeps_their_reason(played: Played, answer: tuple[int | None, str]) -> None:
    played.said["scontrol show -o node"] = [answer]
    assert played.put_back()
    assert played.calls[-1] == CLOSING[0]


@pytest.mark.parametrize("job", ["", "7;id", "../7", "7_", "7+0", "٧", "--me"])
def test_nothing_is_called_and_no_file_made_for_what_is_no_job(played: Played, job: str) -> None:
    assert not played.put_back(job)
    assert played.calls == []
    assert played.words() == []


@pytest.mark.parametrize("node", ["", "hv1;id", "--help me", "hv1\n", "hé"])
def test_what_is_no_name_of_a_node_reaches_no_command(played: Played, node: str) -> None:
    assert played.put_back(node=node)
    assert played.calls == [LOOK, "scontrol requeuehold 7"]


def test_a_word_that_can_not_be_left_changes_nothing(played: Played) -> None:
    played.adopt.touch()
    assert played.put_back()
    assert played.calls == [LOOK, "scontrol requeuehold 7", *CLOSING]


# running the commands


def started(monkeypatch: pytest.MonkeyPatch, tools: Path, outcome: Any) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def run(argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        seen.update(options, argv=list(argv))
        if isinstance(outcome, Exception):
            raise outcome
        return subprocess.CompletedProcess(argv, *outcome)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(emergency, "TOOL_DIRS", (str(tools / "none"), str(tools)))
    (tools / "squeue").touch()
    return seen


def test_only_what_slurm_s_commands_need_is_in_their_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("LD_PRELOAD", "PATH", "SPANK_X", "SLURM_JOB_COMMENT"):
        monkeypatch.setenv(name, "/tmp/x.so\n")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    seen = started(monkeypatch, tmp_path, (0, "out", "err"))
    assert emergency.call(["squeue", "-h"], 3.0) == (0, "out")
    assert seen["env"] == {"PATH": "/usr/bin:/bin", "SLURM_CONF": "/etc/slurm/slurm.conf"}
    assert seen["argv"] == [str(tmp_path / "squeue"), "-h"]
    assert seen["timeout"] == 3.0


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        ((1, "out", "err"), (1, "err")),
        (subprocess.TimeoutExpired("squeue", 3.0), (None, "")),
        (OSError("no"), (None, "")),
    ],
)
def test_how_a_command_ended_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: Any, told: Any) -> None:
    started(monkeypatch, tmp_path, outcome)
    assert emergency.call(["squeue"], 3.0) == told


def test_a_command_that_is_not_there_tells_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started(monkeypatch, tmp_path, (0, "", ""))
    assert emergency.call(["scontrol"], 3.0) == (None, "")
