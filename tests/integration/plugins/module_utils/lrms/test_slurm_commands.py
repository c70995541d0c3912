# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands of a real Slurm say when they fail, and what we read in it.

``WNODES_SLURM_RECORD=1`` writes it down for the unit tests, see tests/unit/plugins/module_utils/lrms/recorded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.integration.libvirt_fixture import until
from tests.integration.private_slurm import ROOT, PrivateSlurm
from wnodes.lrms.slurm_commands import failure
from wnodes.model.errors import CommandFailed, LrmsError, LrmsRefused, NotFoundError

RECORDED = ROOT / "tests" / "unit" / "plugins" / "module_utils" / "lrms" / "recorded"
MEANINGS = {LrmsError: "nothing", LrmsRefused: "refused", NotFoundError: "absent"}
#: what each of our kinds of calls says when nobody answers it
CALLS = (
    ("squeue", "-h", "-a", "-r", "-t", "all", "-j", "1", "-O", "JobArrayID"),
    ("squeue", "-h", "-a", "-r", "-w", "hv1", "-O", "JobArrayID"),
    ("scontrol", "show", "-o", "job", "1"),
    ("scontrol", "show", "-o", "node", "hv1"),
    ("scontrol", "show", "-o", "reservation", "wn_none"),
    ("scontrol", "show", "config"),
    ("scontrol", "update", "JobId=1", "Priority=0", "Requeue=1"),
    ("scontrol", "update", "NodeName=hv1", "State=RESUME"),
    ("scontrol", "update", "ReservationName=wn_none", "Users=root"),
    (
        "scontrol",
        "create",
        "reservation",
        "ReservationName=x",
        "Users=root",
        "Nodes=hv1",
        "StartTime=now",
        "Duration=1",
    ),
    ("scontrol", "delete", "ReservationName=wn_none"),
    ("scontrol", "delete", "NodeName=vwn-9"),
    ("scontrol", "requeue", "1"),
    ("scontrol", "requeuehold", "1"),
    ("scontrol", "release", "1"),
    ("scontrol", "uhold", "1"),
    ("scancel", "1"),
    ("sinfo", "-h", "-a", "-N", "-O", "NodeList"),
    ("sbatch", "--parsable", "--wrap", "true"),
    ("scontrol", "<", "update JobId=1 Priority=0\nrequeue 1\n"),
)


class Recorder:
    """Runs commands, notes what those that fail say and what that means."""

    def __init__(self, slurm: PrivateSlurm) -> None:
        self.slurm, self.answers = slurm, list[dict[str, Any]]()

    def answer(self, argv: Sequence[str]) -> dict[str, Any]:
        """Run a command; return it and its answer with what that means: ``nothing``, ``refused``, ``absent``, ``done``.

        ``nothing``: nothing is known.
        """
        program, told = (argv[:-2], argv[-1]) if "<" in argv else (argv, "")
        done = self.slurm.run(*program, input=told, env={"SLURM_TIME_FORMAT": "%s"}, timeout=120)
        answer = {"argv": list(argv), "rc": done.rc, "stdout": done.stdout, "stderr": done.stderr}
        if done.rc == 0:
            return {**answer, "means": "done"}
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        error = failure(CommandFailed(object=argv[0], value=" ".join(argv), reason=f"exit code {done.rc}: {said}"))
        return {**answer, "means": MEANINGS[type(error)]}  # type: ignore[index]

    def means(self, meaning: str, *commands: Sequence[str]) -> None:
        """Fail where a command means something else. They run at once, for each may have to wait for nobody."""
        with ThreadPoolExecutor(len(commands)) as threads:
            answers = list(threads.map(self.answer, commands))
        self.answers += answers
        assert [answer for answer in answers if answer["means"] != meaning] == []

    def write(self, name: str) -> None:
        """Leave it for the unit tests, if that is wanted."""
        if os.environ.get("WNODES_SLURM_RECORD"):
            version = self.slurm.ask("scontrol", "--version").split()[1]
            path = Path(RECORDED / f"slurm-{version}-{name}.json")
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(self.answers, indent=1) + "\n", encoding="utf-8")


@pytest.fixture
def recorder(slurm: PrivateSlurm) -> Recorder:
    return Recorder(slurm)


def test_without_munge_nothing_is_concluded(recorder: Recorder) -> None:
    recorder.slurm.stop_munge()
    try:
        recorder.means("nothing", *CALLS)
    finally:
        recorder.slurm.start_munge()
    recorder.write("munge")


def test_without_slurmctld_nothing_is_concluded(recorder: Recorder) -> None:
    recorder.slurm.stop_controller()
    try:
        recorder.means("nothing", *CALLS)
    finally:
        recorder.slurm.start_controller()
    recorder.write("slurmctld")


def test_what_slurmctld_does_not_know_is_absent(recorder: Recorder) -> None:
    array = recorder.slurm.submit("--array=1-2", "--hold")
    for job in ("99999", f"{array}_77"):
        recorder.means(
            "absent",
            ("scontrol", "show", "-o", "job", job),
            ("scontrol", "update", f"JobId={job}", "Priority=0", "Requeue=1"),
            ("scontrol", "update", f"JobId={job}", "StartTime=now+5", "AdminComment=x"),
            ("scontrol", "requeue", job),
            ("scontrol", "requeuehold", job),
            ("scontrol", "release", job),
            ("scontrol", "uhold", job),
            ("scontrol", "<", f"update JobId={job} Priority=0\n"),
        )
    recorder.means(
        "absent",
        ("squeue", "-h", "-a", "-r", "-t", "all", "-j", "99999", "-O", "JobArrayID"),
        ("squeue", "-h", "-a", "-r", "-w", "vwn-9", "-O", "JobArrayID"),
        ("scontrol", "show", "-o", "node", "vwn-9"),
        ("scontrol", "update", "NodeName=vwn-9", "State=DRAIN", "Reason=x"),
        ("scontrol", "delete", "NodeName=vwn-9"),
        ("scontrol", "show", "-o", "reservation", "wn_none"),
        ("scontrol", "update", "ReservationName=wn_none", "Users=root"),
        ("scontrol", "delete", "ReservationName=wn_none"),
    )
    recorder.write("absent")


def test_what_slurmctld_would_not_do_is_refused(recorder: Recorder) -> None:
    slurm = recorder.slurm
    slurm.ask(
        *("scontrol", "create", "reservation", "ReservationName=busy", "StartTime=now", "Duration=60"),
        *("Nodes=hv1", "Users=root,alice"),
    )
    within = slurm.submit("--reservation=busy", "-w", "hv1", seconds=60)
    until("a job in the reservation", lambda: slurm.squeue(within, "State") == "RUNNING")
    pending = slurm.submit("--hold")
    over = slurm.submit("-w", "hv2")
    until("a job that is over", lambda: slurm.squeue(over, "State") == "COMPLETED")
    recorder.means(
        "refused",
        ("scontrol", "delete", "ReservationName=busy"),
        ("scontrol", "delete", "NodeName=hv1"),
        ("scontrol", "requeue", pending),
        ("scontrol", "requeuehold", pending),
        ("scontrol", "update", f"JobId={pending}", "Features=nowhere"),
        ("scontrol", "update", f"JobId={pending}", "Partition=nowhere"),
        ("scontrol", "update", f"JobId={pending}", "ReservationName=nowhere"),
        ("scontrol", "update", f"JobId={pending}", "ReqNodeList=nowhere"),
        ("scontrol", "update", f"JobId={over}", "Priority=0", "Requeue=1"),
        ("scontrol", "update", f"JobId={over}", "StartTime=now+5"),
        ("scontrol", "uhold", over),
        ("scontrol", "release", over),
        ("sbatch", "--parsable", "-p", "nowhere", "--wrap", "true"),
    )
    recorder.write("refused")
