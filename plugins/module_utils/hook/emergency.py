# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hook does with a virtual job of Slurm's when no bait answers: it must not run on the node itself.

Only the emergency imports this. What has happened to the job meanwhile is looked up first, for a slow bait may have
stopped it after all. Seen on 22.05.8: a prolog that fails drains its node, and a job whose owner forbade to requeue it
is lost; so that comes last.
"""

from __future__ import annotations

import os
import subprocess
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from .slurm import is_id

#: runs a program of Slurm's for at most so many seconds → its exit code (None: it did not end well in time), its words
Runner = Callable[[List[str], float], Tuple[Optional[int], str]]

ADOPT_DIR = "/var/lib/wnodes/adopt"
TOOL_DIRS = ("/usr/bin", "/usr/local/bin", "/opt/slurm/bin")
#: for all of it, and for one call of a command, in seconds
LIMIT_S = 60.0
CALL_LIMIT_S = 15.0
#: what of it is kept for closing the node where nothing else could be done, in seconds
RESERVE_S = 5.0
CLOSED = "wnodes: the bait does not answer"
NO_TERMINAL = "a job with a terminal can't go to a VM: submit it with sbatch"

_END = "\x1f"
_COLUMNS = ("JobArrayID:64", "JobID:16", "State:32", "NodeList:512", "batchflag:8", "requeue:8", "HetJobID:16")
_FORMAT = ",".join(column + _END for column in _COLUMNS)
_UNKNOWN = "Invalid job id specified"
#: a job in any other state may be about to start
_LEFT = (
    *("PENDING", "COMPLETING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"),
    *("BOOT_FAIL", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
    "CANCELLED",
)


def call(argv: List[str], limit_s: float) -> Tuple[Optional[int], str]:
    """See ``Runner``."""
    for folder in TOOL_DIRS:
        tool = os.path.join(folder, argv[0])
        if os.path.exists(tool):
            break
    else:
        return None, ""
    environment = {"PATH": "/usr/bin:/bin"}
    if "SLURM_CONF" in os.environ:
        environment["SLURM_CONF"] = os.environ["SLURM_CONF"]
    try:
        done = subprocess.run(
            [tool, *argv[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="ascii",
            errors="replace",
            timeout=limit_s,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None, ""
    return done.returncode, done.stderr if done.returncode else done.stdout


class _Seen(NamedTuple):
    """A job as Slurm has it: under which id, whether it is about to start here, and what it can bear."""

    id: str
    here: bool = False
    terminal: bool = False
    requeue: str = "1"
    whole: str = ""


def put_back(
    job: str,
    node: str,
    run: Runner = call,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Keep ``job`` off this node: requeued and held, or cancelled where Slurm requeues none of its kind.

    The node is closed, and word is left for the bait, which opens it and frees the job. Return whether the job is off;
    if it is not, the prolog has to fail.
    """
    if not is_id(job):
        return False
    if not all(letter.isascii() and (letter.isalnum() or letter in "._-") for letter in node):
        node = ""
    return _Emergency(job, node, run, clock, sleep).end()


class _Emergency:
    def __init__(
        self, job: str, node: str, run: Runner, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._job, self._node, self._run, self._clock, self._sleep = job, node, run, clock, sleep
        self._deadline = clock() + LIMIT_S
        self._word: Dict[str, str] = {}
        self._tried = False

    def end(self) -> bool:
        pause = 0.5
        while True:
            seen = self._look()
            if seen is not None:
                self._job = seen.id
                if not seen.here or self._stop(seen):
                    break
            if self._left() <= RESERVE_S + pause:
                self._word["Failed"] = "1"
                self._leave_word()
                self._close()
                return False
            self._sleep(pause)
            pause = min(pause * 2, 8.0)
        if self._tried:  # or it was somebody else, who answers for the node
            self._close()
        return True

    def _left(self) -> float:
        return self._deadline - self._clock()

    def _call(self, *argv: str) -> Tuple[Optional[int], str]:
        left = self._left()
        return self._run(list(argv), min(CALL_LIMIT_S, left)) if left > 0 else (None, "")

    def _look(self) -> Optional[_Seen]:
        """Return the job; None where Slurm says nothing that can be relied on.

        A prolog is told nothing of arrays (seen on 22.05.8 and 24.11.5), and the last task's number means all of them.
        """
        code, said = self._call("squeue", "-h", "-a", "-r", "-t", "all", "-j", self._job, "-O", _FORMAT)
        if code != 0:
            return _Seen(self._job) if code is not None and said.rstrip().endswith(_UNKNOWN) else None
        if not said.strip():
            return _Seen(self._job)
        rows = [[value.strip() for value in line.split(_END)] for line in said.split("\n")]
        ours = [row for row in rows if len(row) == len(_COLUMNS) + 1 and is_id(row[1]) and self._job in row[:2]]
        # tasks that wait have their array's number, too
        ours.sort(key=lambda row: row[2] in _LEFT)
        return self._seen(ours[0]) if ours else None

    def _seen(self, row: List[str]) -> _Seen:
        task, number, state, where, batch, requeue, larger = row[:7]
        elsewhere = bool(self._node and where) and where != self._node and not set(where) & set("[,")
        return _Seen(
            id=task if is_id(task) else number,
            here=state not in _LEFT and not elsewhere,
            terminal=batch == "0",
            requeue=requeue,
            whole=larger if is_id(larger) and larger != "0" else "",
        )

    def _stop(self, seen: _Seen) -> bool:
        self._tried = True
        if seen.terminal:
            self._call("scontrol", "notify", seen.whole or seen.id, NO_TERMINAL)
        if seen.terminal or seen.whole:
            # a part alone would leave the others waiting for it
            return self._call("scancel", seen.whole or seen.id)[0] == 0
        if seen.requeue in ("0", "1"):
            self._word.setdefault("Requeue", seen.requeue)
        self._leave_word()  # first: what was stopped without word would be held for ever
        if seen.requeue != "1":
            self._call("scontrol", "update", f"JobId={seen.id}", "Requeue=1")
        stopped = self._call("scontrol", "requeuehold", seen.id)[0] == 0
        if stopped:
            self._leave_word()  # again: its age counts from here
        return stopped

    def _leave_word(self) -> None:
        new = os.path.join(ADOPT_DIR, f".{self._job}")
        try:
            os.makedirs(ADOPT_DIR, mode=0o700, exist_ok=True)
            with open(new, "w", encoding="ascii") as file:
                file.writelines(f"{key}={value}\n" for key, value in self._word.items())
            os.replace(new, os.path.join(ADOPT_DIR, self._job))
        except OSError:
            pass  # the job is safe in the queue; an administrator can release it

    def _close(self) -> None:
        """Let no further job come here, unless somebody has closed the node already, for reasons of theirs."""
        if not self._node:
            return
        code, said = self._call("scontrol", "show", "-o", "node", self._node)
        states = [word for word in said.split() if word.startswith("State=")]
        if code == 0 and states and "DRAIN" not in states[0]:
            self._call("scontrol", "update", f"NodeName={self._node}", "State=DRAIN", f"Reason={CLOSED}")
