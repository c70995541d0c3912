# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hook's emergency: a job is put back without a bait, and no other job is touched."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from wnodes.hook import slurm

SQUEUE = "-h -a -r -t CONFIGURING,RUNNING -w hv1 -O JobArrayID:64,JobID:16"


class Played:
    """Slurm's commands; ``failing``: the words that calls begin with which fail, and how often."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.squeue, self.failing, self.late = "", dict[str, int](), ""
        self.calls: list[str] = []
        self.slept: list[float] = []
        self.now = 0.0
        self.options: dict[str, Any] = {}
        self.adopt = tmp_path / "adopt"
        for tool in ("scontrol", "squeue"):
            (tmp_path / tool).touch()
        self.tools = tmp_path
        monkeypatch.setattr(slurm, "TOOL_DIRS", (str(tmp_path / "none"), str(tmp_path)))
        monkeypatch.setattr(slurm, "ADOPT_DIR", str(self.adopt))
        monkeypatch.setattr(subprocess, "run", self.run)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.pause)

    def pause(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def run(self, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        said = " ".join([os.path.basename(argv[0]), *argv[1:]])
        self.calls.append(said)
        self.options = options
        if self.late and said.startswith(self.late):
            raise subprocess.TimeoutExpired(said, options["timeout"])
        for start, times in self.failing.items():
            if said.startswith(start) and times > 0:
                self.failing[start] -= 1
                return subprocess.CompletedProcess(argv, 1, "", "")
        return subprocess.CompletedProcess(argv, 0, self.squeue if said.startswith("squeue") else "", "")

    def marks(self) -> list[str]:
        return sorted(os.listdir(self.adopt)) if self.adopt.is_dir() else []


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Played:
    return Played(monkeypatch, tmp_path)


def stopped(job: str) -> list[str]:
    return [
        f"scontrol update JobId={job} Requeue=1",
        f"scontrol requeuehold {job}",
        f"scontrol update NodeName=hv1 State=DRAIN Reason={slurm.CLOSED}",
    ]


def test_the_last_task_of_an_array_is_put_back_alone_and_marked_so_that_it_alone_is_freed(played: Played) -> None:
    played.squeue = f"{'75_1':64}{'76':16}\n{'75_2':64}{'75':16}\n{'77':64}{'77':16}\n"
    assert slurm.put_back("75", "hv1")
    assert played.calls == [f"squeue {SQUEUE}", *stopped("75_2")]
    assert played.marks() == ["75_2"]


@pytest.mark.parametrize(("number", "exact"), [("77", "77"), ("76", "75_1")])
def test_any_other_job_is_put_back_by_the_id_it_has(played: Played, number: str, exact: str) -> None:
    played.squeue = f"{'75_1':64}{'76':16}\n{'77':64}{'77':16}\n"
    assert slurm.put_back(number, "hv1")
    assert played.calls[1:] == stopped(exact)
    assert played.marks() == [exact]


def test_a_task_that_is_known_as_one_is_not_asked_for(played: Played) -> None:
    assert slurm.put_back("75_2", "hv1")
    assert played.calls == stopped("75_2")


@pytest.mark.parametrize(
    "told", ["", "garbage", f"{'$(id)':64}{'75':16}", f"{'75_[1-9]':64}{'75':16}", f"{'75_2':64}{'7':16}", "75_2 75 x"]
)
def test_where_slurm_does_not_say_the_number_has_to_do(played: Played, told: str) -> None:
    played.squeue = told
    assert slurm.put_back("75", "hv1")
    assert played.calls[1:] == stopped("75")
    assert played.marks() == ["75"]


@pytest.mark.parametrize("how", ["fails", "hangs", "is missing"])
def test_a_squeue_that_does_not_work_keeps_no_job_on_the_node(played: Played, how: str) -> None:
    played.squeue = f"{'75_2':64}{'75':16}"
    if how == "fails":
        played.failing["squeue"] = 1
    elif how == "hangs":
        played.late = "squeue"
    else:
        (played.tools / "squeue").unlink()
    assert slurm.put_back("75", "hv1")
    assert played.calls[-3:] == stopped("75")


def test_a_slurm_that_is_silent_for_a_while_is_asked_again_and_then_also_for_the_task(played: Played) -> None:
    played.squeue = f"{'75_2':64}{'75':16}"
    played.failing = {"squeue": 2, "scontrol": 4}
    assert slurm.put_back("75", "hv1")
    assert played.calls[-4:] == [f"squeue {SQUEUE}", *stopped("75_2")]
    assert played.slept == [0.5, 1.0]
    assert played.marks() == ["75_2"]


def test_it_ends_in_time_and_says_that_it_failed(played: Played) -> None:
    played.failing["scontrol"] = 1000
    assert not slurm.put_back("75", "hv1")
    assert slurm.PUT_BACK_LIMIT_S <= played.now < slurm.PUT_BACK_LIMIT_S + 8.1
    assert played.marks() == []
    assert played.options["timeout"] == slurm.CALL_LIMIT_S


def test_nothing_is_called_without_a_job(played: Played) -> None:
    assert not slurm.put_back("", "hv1")
    assert played.calls == []


@pytest.mark.parametrize("node", ["", "hv1;id", "--help me", "hv1\n", "hé"])
def test_what_is_no_name_of_a_node_reaches_no_command(played: Played, node: str) -> None:
    assert slurm.put_back("75", node)
    assert played.calls == ["squeue " + SQUEUE.replace("-w hv1 ", ""), *stopped("75")[:2]]


def test_only_what_slurm_s_commands_need_is_in_their_environment(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/tmp/x.so")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    slurm.put_back("75", "hv1")
    assert played.options["env"] == {"PATH": "/usr/bin:/bin", "SLURM_CONF": "/etc/slurm/slurm.conf"}


def test_a_mark_that_can_not_be_left_changes_nothing(played: Played) -> None:
    played.adopt.touch()
    assert slurm.put_back("75", "hv1")
