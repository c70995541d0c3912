# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm's texts: what its commands print and what it puts into a prolog's environment, as our nouns. No I/O.

Free text of users (job name, comment, paths) never stands in what is parsed here: columns are asked for one by one and
end with a character that Slurm allows in none of them.
"""

from __future__ import annotations

import re
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from ..model.errors import LrmsError, RequestError
from ..model.job import Hold
from ..model.resources import Resources
from . import slurm_constraint
from .base import HostState, LrmsJob, LrmsJobState, NodeRoom

END = "\x1f"
#: squeue -O columns and their widths (longer values would be cut, so widths are Slurm's own limits or generous)
COLUMNS: Tuple[Tuple[str, int], ...] = (
    ("JobArrayID", 64),
    ("JobID", 16),
    ("State", 32),
    ("prioritylong", 24),
    ("UserName", 64),
    ("UserID", 16),
    ("NumCPUs", 16),
    ("NumNodes", 16),
    ("tres-alloc", 512),
    ("MinTmpDisk", 32),
    ("exit_code", 16),
    ("NodeList", 512),
    ("Partition", 256),
    ("TimeLimit", 32),
    ("Feature", 2048),
    ("ReqNodes", 1024),
    ("eligibletime", 32),
    ("Reservation", 256),
    ("requeue", 8),
    ("batchflag", 8),
    ("admin_comment", 4096),
    ("Reason", 64),
    ("RestartCnt", 16),
    ("MinMemory", 32),
    ("Nice", 16),
    ("HetJobID", 16),
    ("tres-per-job", 512),
    ("tres-per-node", 512),
    ("tres-per-socket", 512),
    ("tres-per-task", 512),
    ("Licenses", 512),
    ("Account", 128),
    ("QOS", 128),
)
SQUEUE_FORMAT = ",".join(f"{name}:{width}{END}" for name, width in COLUMNS)
#: what pinning changes or relies on, under the name ``scontrol update`` gives it
FIXED = {
    "Partition": "Partition",
    "TimeLimit": "TimeLimit",
    "Feature": "Features",
    "ReqNodes": "ReqNodeList",
    "Reservation": "ReservationName",
    "requeue": "Requeue",
    "batchflag": "BatchFlag",
    "NumCPUs": "NumCPUs",
    "MinMemory": "MinMemoryNode",
    "MinTmpDisk": "MinTmpDiskNode",
    "Nice": "Nice",
}
#: what of it decides whether a VM is right for the job
SHAPE = ("Features", "NumCPUs", "MinMemoryNode", "MinTmpDiskNode")
#: the first of the reasons for which a job waits although its VM is there: no fault of the VM's
_LIMITS = ("JobArrayTaskLimit", "Licenses", "Dependency", "QOS", "Assoc", "BeginTime", "PartitionTimeLimit")
#: what a job may ask for that no VM has: column → what to call it
_NOT_IN_A_VM = {
    "tres-per-job": "generic resources",
    "tres-per-node": "generic resources",
    "tres-per-socket": "generic resources",
    "tres-per-task": "generic resources",
}
_IMPOSSIBLE = "BadConstraints"

_STATES = {
    "PENDING": LrmsJobState.PENDING,
    "REQUEUED": LrmsJobState.COMPLETING,
    "REQUEUE_FED": LrmsJobState.COMPLETING,
    "REQUEUE_HOLD": LrmsJobState.HELD,
    "SPECIAL_EXIT": LrmsJobState.HELD,
    "RESV_DEL_HOLD": LrmsJobState.HELD,
    "CONFIGURING": LrmsJobState.RUNNING,
    "RUNNING": LrmsJobState.RUNNING,
    "RESIZING": LrmsJobState.RUNNING,
    "SIGNALING": LrmsJobState.RUNNING,
    "STAGE_OUT": LrmsJobState.RUNNING,
    "STOPPED": LrmsJobState.RUNNING,
    "SUSPENDED": LrmsJobState.RUNNING,
    "COMPLETING": LrmsJobState.COMPLETING,
    "BOOT_FAIL": LrmsJobState.ENDED,
    "COMPLETED": LrmsJobState.ENDED,
    "DEADLINE": LrmsJobState.ENDED,
    "FAILED": LrmsJobState.ENDED,
    "NODE_FAIL": LrmsJobState.ENDED,
    "OUT_OF_MEMORY": LrmsJobState.ENDED,
    "PREEMPTED": LrmsJobState.ENDED,
    "REVOKED": LrmsJobState.ENDED,
    "TIMEOUT": LrmsJobState.ENDED,
    "CANCELLED": LrmsJobState.CANCELLED,
}
_UNITS = {"": 1.0, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0 * 1024}

_OPTIONS = re.compile(r"(?:^|\s)wnodes:(\S*)")


def mib(text: str) -> int:
    """Return a Slurm size such as ``512M`` or ``1.50G`` in MiB, rounded up; a bare number is MiB."""
    match = re.match(r"([0-9]+(?:\.[0-9]+)?)([KMGT]?)[cn]?\Z", text.strip())
    if not match:
        raise LrmsError(object="Slurm size", value=text, reason="is not a size")
    size = float(match.group(1)) * _UNITS[match.group(2)]
    return int(size) if size == int(size) else int(size) + 1


def jobs(output: str) -> Dict[str, LrmsJob]:
    """Return the jobs in squeue's output (``SQUEUE_FORMAT``) by id."""
    found: Dict[str, LrmsJob] = {}
    for line in output.split("\n"):
        if not line.strip():
            continue
        values = [value.strip() for value in line.split(END)]
        if len(values) != len(COLUMNS) + 1:
            raise LrmsError(
                object="squeue", value=line[:200], reason=f"printed {len(values)} columns, not {len(COLUMNS) + 1}"
            )
        job = _job({name: _empty(value) for (name, _width), value in zip(COLUMNS, values)})
        found[job.id] = job
    return found


def _empty(value: str) -> str:
    return "" if value in ("(null)", "N/A", "n/a") else value


def _job(row: Mapping[str, str]) -> LrmsJob:
    state = _STATES.get(row["State"])
    if state is None:
        raise LrmsError(object=f"job {row['JobArrayID']}", value=row["State"], reason="is a state unknown to us")
    if state is LrmsJobState.PENDING and row["prioritylong"] == "0":  # whoever holds it, and why
        state = LrmsJobState.HELD
    tres = dict(item.split("=", 1) for item in row["tres-alloc"].split(",") if "=" in item)
    over = state in (LrmsJobState.ENDED, LrmsJobState.CANCELLED)
    whole = "" if row["HetJobID"] == "0" else row["HetJobID"]
    return LrmsJob(
        id=row["JobID"] if whole else row["JobArrayID"],
        state=state,
        user=row["UserName"],
        uid=int(row["UserID"] or -1),
        resources=Resources(
            cpus=int(tres.get("cpu", row["NumCPUs"]) or 1),
            memory_mib=mib(tres.get("mem", "0")),
            scratch_mib=mib(row["MinTmpDisk"] or "0"),
        ),
        nodes=int(row["NumNodes"].split("-")[0] or 1),
        host=row["NodeList"],
        mark=row["admin_comment"],
        exit_code=_exit_code(row["exit_code"]) if over else None,
        number=row["JobID"],
        eligible=float(row["eligibletime"]) if row["eligibletime"].isdigit() else 0.0,
        partition=row["Partition"],
        tag=next(iter(slurm_constraint.tags(row["Feature"])), ""),
        fixed={name: row[column] for column, name in FIXED.items()},
        reason="" if row["Reason"] in ("None", "Resources", "Priority") else row["Reason"],
        limited=row["Reason"].startswith(_LIMITS),
        impossible=row["Reason"] == _IMPOSSIBLE,
        kind="/".join(row[column] for column in ("UserName", "Account", "QOS", "Licenses")),
        hold=_hold(state, row["Reason"]),
        shape=SHAPE,
        restarts=int(row["RestartCnt"] or 0),
        whole_memory=row["MinMemory"] in ("0", "0M"),
        whole=whole,
        unsupported=_unsupported(row),
    )


def _unsupported(row: Mapping[str, str]) -> str:
    """Return what the job asks for that a VM can't be given; empty: nothing."""
    if row["HetJobID"] not in ("", "0"):
        return "it is part of a heterogeneous job; a job in a VM has one node"
    for column, name in _NOT_IN_A_VM.items():
        # CPUs stand there, too, on 24.11
        asked = [item for item in row[column].split(",") if re.match(r"gres[:/](?!none\Z)", item)]
        if asked:
            return f"it asks for {name} ({','.join(asked)}), which VMs do not have"
    return ""


def _hold(state: LrmsJobState, reason: str) -> Hold:
    if state is not LrmsJobState.HELD:
        return Hold.NOBODY
    # the second is what Slurm says after a requeuehold, which its owner may end
    return Hold.OWNER if reason in ("JobHeldUser", "job_requeued_in_held_state") else Hold.ADMINISTRATOR


def _exit_code(text: str) -> int:
    """Return the exit code a shell would show: the code, or 128 + signal.

    Slurm 22.05 prints a raw wait status, 24.11 ``code:signal``.
    """
    code, colon, signal = text.partition(":")
    if not colon:
        status = int(code or 0)
        code, signal = str(status >> 8), str(status & 0x7F)
    return 128 + int(signal) if int(signal) else int(code)


def options(comment: str) -> Dict[str, str]:
    """Return the wishes in a job's ``--comment``.

    :raises RequestError: one is not ``key=value``
    """
    found: Dict[str, str] = {}
    match = _OPTIONS.search(comment)
    for item in filter(None, match.group(1).split(",")) if match else ():
        key, equals, value = item.partition("=")
        if not equals or not re.match(r"[a-z_]+\Z", key):
            raise RequestError(
                object="job's --comment",
                value=item[:200],
                reason="is not key=value",
                hint="for example wnodes:scratch=2G",
            )
        found[key] = value
    return found


def fields(line: str) -> Dict[str, str]:
    """Return the first value of each ``Key=value`` in a one-line ``scontrol show``; values end at white space."""
    found: Dict[str, str] = {}
    for key, value in re.findall(r"(?:^|\s)([A-Za-z][A-Za-z0-9_:/]*)=(\S*)", line):
        found.setdefault(key, _empty(value))
    return found


def features(line: str) -> List[str]:
    """Return what a node offers, in ``scontrol show -o node``."""
    return [item for item in fields(line).get("AvailableFeatures", "").split(",") if item]


def job_name(line: str) -> str:
    """Return the name in ``scontrol show -o job``; users choose it, and can make it look like more fields."""
    match = re.search(r"(?:^|\s)JobName=(.*?) UserId=", line, re.DOTALL)
    return _empty(match.group(1)) if match else ""


def node_reason(line: str) -> str:
    """Return the reason in ``scontrol show -o node``, without who set it and when."""
    match = re.search(r"\sReason=(.*?)(?:\s\[[^\]]*\])?(?:\s+Comment=.*)?\s*\Z", line)
    return match.group(1) if match else ""


def host_state(state: str) -> HostState:
    """Return ours for a node state such as ``IDLE+DRAIN+DYNAMIC_NORM``."""
    native, *flags = state.split("+")
    base = native.rstrip("*~#!%$@^-")
    if base in ("DOWN", "ERROR", "FUTURE", "INVAL") or "INVALID_REG" in flags or "FAIL" in flags:
        return HostState.DOWN
    if base in ("ALLOCATED", "MIXED") or "COMPLETING" in flags:
        return HostState.BUSY
    if "NOT_RESPONDING" in flags or native.endswith("*") or base == "UNKNOWN":
        return HostState.JOINING
    return HostState.CLOSED if "DRAIN" in flags else HostState.READY


def nodes(output: str) -> Dict[str, Tuple[int, Tuple[str, ...]]]:
    """Return (memory in MiB, features) of the nodes in ``sinfo -N`` output (``NODES_FORMAT``), by name."""
    found = {}
    for line in output.splitlines():
        values = [value.strip() for value in line.split(END)]
        if len(values) == 4:
            found[values[0]] = mib(values[1]), tuple(filter(None, _empty(values[2]).split(",")))
    return found


NODES_FORMAT = f"NodeList:128{END},Memory:32{END},Features:4096{END}"


def room(line: str, ours: bool) -> NodeRoom:
    """Return what the node in a one-line ``scontrol show node`` has for jobs.

    :param ours: whether it was us who drained it, if it is drained
    """
    shown = fields(line)
    try:
        cpus = int(shown.get("CPUEfctv", "") or shown["CPUTot"])
        memory = int(shown["RealMemory"]) - int(shown.get("MemSpecLimit", "") or 0)
        free = Resources(max(0, cpus - int(shown["CPUAlloc"])), max(0, memory - int(shown["AllocMem"])))
    except (KeyError, ValueError) as error:
        raise LrmsError(object="scontrol show node", value=line[:200], reason=f"tells no {error}") from None
    state = shown.get("State", "")
    closed = host_state(state) is HostState.DOWN or ("DRAIN" in state and not ours)
    return NodeRoom(Resources(cpus, memory), free, not closed)


def command(words: Sequence[str]) -> Optional[str]:
    """Return a line for scontrol's standard input; None where a word holds what can't be told there."""
    for word in words:
        if not word.isprintable() or any(letter in word for letter in " \"'\\"):
            return None
    return " ".join(words) + "\n"


def minutes(limit: str) -> Optional[int]:
    """Return a time limit such as ``1-02:00:00`` in minutes, rounded up; None: there is none."""
    match = re.match(r"(?:([0-9]+)-)?(?:([0-9]+):)?([0-9]+):([0-9]+)\Z", limit)
    if not match:
        return None
    days, hours, mins, seconds = (int(part or 0) for part in match.groups())
    return days * 1440 + hours * 60 + mins + (1 if seconds else 0)


def cred_expire_s(config: str) -> float:
    """Return how long slurmds remember jobs (seconds), from ``scontrol show config``."""
    match = re.search(r"^AuthInfo\s*=.*\bcred_expire=([0-9]+)", config, re.MULTILINE)
    return float(match.group(1)) if match else 120.0


def conf_server(config: str) -> str:
    """Return ``<host>:<port>`` of slurmctld, from ``scontrol show config``."""
    host = re.search(r"^SlurmctldHost\[0\]\s*=\s*([^\s(]+)(?:\(([^)\s]+)\))?", config, re.MULTILINE)
    port = re.search(r"^SlurmctldPort\s*=\s*([0-9]+)", config, re.MULTILINE)
    if not host:
        raise LrmsError(object="scontrol show config", reason="names no SlurmctldHost")
    return f"{host.group(2) or host.group(1)}:{port.group(1) if port else 6817}"


def spool_dir(config: str, node: str) -> str:
    """Return the folder of a node's slurmd, from ``scontrol show config``; empty where it does not tell."""
    match = re.search(r"^SlurmdSpoolDir\s*=\s*(\S+)", config, re.MULTILINE)
    return match.group(1).replace("%n", node).replace("%h", node) if match else ""


def step(file: str, node: str) -> str:
    """Return the number of the job whose step has this socket in slurmd's folder; empty where it is none."""
    match = re.match(rf"{re.escape(node)}_([0-9]+)\.[0-9]+(?:\.[0-9]+)?\Z", file)
    return match.group(1) if match else ""


def throttle(line: str) -> int:
    """Return how many tasks of its array may run at once, in ``scontrol show -o job``; 0: any number."""
    told = fields(line).get("ArrayTaskThrottle", "")
    return int(told) if told.isdigit() else 0


def task_environment(job: LrmsJob, restarts: int) -> str:
    """Return the lines of a task prolog that let a job see what it would have seen on its node."""
    values = {
        "SLURM_RESTART_COUNT": str(restarts or ""),
        "SLURM_JOB_PARTITION": job.partition,
        "SLURM_JOB_RESERVATION": job.fixed.get("ReservationName", ""),
    }
    lines = (f"export {name}={value}" if value else f"unset {name}" for name, value in values.items())
    return "".join(f"{line}\n" for line in lines)


def inquiries(node: str) -> Dict[str, Tuple[str, ...]]:
    """Return commands that show all of Slurm that matters for a node of ours, by name."""
    return {
        "slurm-version": ("scontrol", "--version"),
        "slurm-nodes": ("sinfo", "-a", "-N", "-l"),
        "slurm-node": ("scontrol", "show", "node", node),
        "slurm-reservations": ("scontrol", "show", "reservation"),
        "slurm-jobs-here": ("squeue", "-a", "-w", node),
        "slurm-our-jobs": ("squeue", "-a", "-u", "root"),
        "slurm-config": ("scontrol", "show", "config"),
    }
