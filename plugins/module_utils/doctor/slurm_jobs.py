# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm's settings that decide what becomes of jobs on their way to a VM, and of root's placeholders."""

from __future__ import annotations

import re
from typing import Iterator, Mapping

from ..lrms.slurm_commands import SlurmConfig
from ..model.errors import CommandFailed
from .check import NODE, Check, Finding, Wanted, failure, first_line, ok, skipped, warning
from .machine import Machine
from .slurm import WHERE, Config, judged_by, number, one, settings_of, where_slurm_answers, words
from .slurm_places import DOCS, Partitions, partitions_of, use_of

#: seconds; Slurm's own default, and what is too short for steps and too long for who waits
CRED_EXPIRE_S, SHORTEST_S, LONGEST_S = 120, 60, 600
#: seconds for which Slurm should know a job that is over: a bait that is restarted asks then
LEAST_AGE_S = 60
#: kinds of enforcement with which nobody has a job without an association
ASSOCIATIONS = {"associations", "limits", "nosteps", "nojobs", "qos", "safe", "wckeys", "all"}


def root_jobs(settings: Config, wanted: Wanted) -> Iterator[Finding]:
    if one(settings, "DisableRootJobs").lower() == "yes":
        yield failure(
            "DisableRootJobs",
            "YES",
            "placeholders, which keep a VM's share of its node, are jobs of root: without them no job gets a VM",
            f"take it out {WHERE}",
        )


def accounting(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    settings = settings_of(machine)
    if not ASSOCIATIONS & set(words(settings, "AccountingStorageEnforce")):
        return
    enforced, cluster = one(settings, "AccountingStorageEnforce"), one(settings, "ClusterName")
    ask = ("sacctmgr", "-nP", "show", "assoc", "user=root", f"cluster={cluster}", "format=account")
    try:
        accounts = machine.said(*ask)
    except CommandFailed as error:
        hint = "on the head node `sacctmgr show assoc user=root` must show one"
        yield skipped("association of root", f"sacctmgr gave no answer: {first_line(error)}", hint)
        return
    if not accounts:
        yield failure(
            "AccountingStorageEnforce",
            enforced,
            "root has no association, so Slurm refuses its placeholders, and no job gets a VM",
            f"`sacctmgr add user root cluster={cluster} account=root`, with no limit",
        )
    yield ok("association of root", ", ".join(accounts.split()))


def credentials(settings: Config, wanted: Wanted) -> Iterator[Finding]:
    found = re.search(r"\bcred_expire=([0-9]+)", one(settings, "AuthInfo"))
    seconds = int(found.group(1)) if found else CRED_EXPIRE_S
    value, cure = f"cred_expire={seconds}", f"leave it out (it is {CRED_EXPIRE_S} then) {WHERE}"
    waits = f"a job that goes back into the queue may wait {seconds + 1} s for the node that had it"
    if seconds < SHORTEST_S:
        yield warning("AuthInfo", value, "steps that a busy node starts late are refused", cure)
    elif seconds > LONGEST_S:
        yield warning("AuthInfo", value, waits, cure)
    yield ok("AuthInfo", f"{value}: {waits}")


def node_features(settings: Config, wanted: Wanted) -> Iterator[Finding]:
    plugins = ", ".join(settings.get("NodeFeaturesPlugins", ()))
    if plugins:
        yield warning(
            "NodeFeaturesPlugins",
            plugins,
            "the bait sets features vm_… of its node itself: a plugin may undo that, or have the node rebooted for it",
            "let the plugin leave these nodes alone, and try it with one node first",
        )


def requeue(settings: Config, wanted: Wanted) -> Iterator[Finding]:
    if one(settings, "JobRequeue") == "0":
        yield warning(
            "JobRequeue",
            "0",
            "jobs that do not say --requeue are lost with their node or VM, and a drain's deadline ends none of them",
            f"set JobRequeue=1 {WHERE}; jobs that can't begin again say --no-requeue",
        )


def job_age(settings: Config, wanted: Wanted) -> Iterator[Finding]:
    seen = number(one(settings, "MinJobAge"))
    if 0 < seen < LEAST_AGE_S:  # 0: Slurm forgets none
        yield warning(
            "MinJobAge",
            f"{seen} s",
            "a bait that is away for longer can't learn how its jobs have ended",
            f"set MinJobAge=300 {WHERE}",
        )
    yield ok("MinJobAge", f"{seen} s")


def overrides(settings: Config, wanted: Wanted) -> Iterator[Finding]:
    if "config_overrides" in words(settings, "SlurmdParameters"):
        yield ok("SlurmdParameters", "config_overrides: Slurm believes slurm.conf, not what nodes and VMs have")
    else:
        yield ok("SlurmdParameters", "a node or VM with less than Slurm was told gets no job")


def limits(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    yield from judge_limits(settings_of(machine), partitions_of(machine), use_of(wanted))


def judge_limits(settings: Config, found: Partitions, use: SlurmConfig) -> Iterator[Finding]:
    """Judge whether jobs that users' partitions take may go on into the VMs' partition."""
    vms = found.get(use.vm_partition)
    if vms is None:
        yield skipped(f"partition {use.vm_partition}", "is not there", "see slurm.partitions")
        return
    enforced = one(settings, "EnforcePartLimits").upper() in ("ALL", "ANY", "YES")
    fate = "Slurm refuses to send such a job to its VM" if enforced else "such a job waits for its VM's start for ever"
    ours = (use.vm_partition, *use.own_partitions)
    users = {name: one for name, one in found.items() if name not in ours and one.get("RootOnly") != "YES"}
    longest = max(users, key=lambda name: _minutes(users[name], "MaxTime"), default=None)
    if longest is not None and _minutes(vms, "MaxTime") < _minutes(users[longest], "MaxTime"):
        yield failure(
            f"partition {use.vm_partition}",
            f"MaxTime={vms.get('MaxTime', '')}",
            f"jobs of {longest} may take longer (MaxTime={users[longest].get('MaxTime', '')}), and {fate}",
            f"give it the longest MaxTime of all: {DOCS}",
        )
    for key in ("AllowGroups", "AllowAccounts", "AllowQos", "MaxMemPerNode", "MaxMemPerCPU", "MaxCPUsPerNode"):
        value = vms.get(key, "")
        if value not in ("", "ALL", "UNLIMITED"):
            reason = f"not every job that a node takes may be there, and {fate}"
            yield warning(f"partition {use.vm_partition}", f"{key}={value}", reason, f"leave it out there: {DOCS}")


def _minutes(partition: Mapping[str, str], key: str) -> float:
    """Return a time such as ``7-00:00:00`` in minutes; none is no limit."""
    found = re.match(r"(?:([0-9]+)-)?([0-9]+):([0-9]+):[0-9]+\Z", partition.get(key, ""))
    if not found:
        return float("inf")
    days, hours, minutes = (int(part or 0) for part in found.groups())
    return float((days * 24 + hours) * 60 + minutes)


def spool(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    seen = one(settings_of(machine), "SlurmdSpoolDir")
    node = use_of(wanted).node
    folder = seen.replace("%n", node).replace("%h", node)
    targets = [mount.target for mount in wanted.bait.mounts] if wanted.bait is not None else []
    shared = [target for target in targets if f"{folder}/".startswith(target.rstrip("/") + "/")]
    if shared:
        yield failure(
            "SlurmdSpoolDir",
            seen,
            f"is in {shared[0]}, which VMs see too: their slurmd would write where the node's does",
            f"move it to a disk of the node {WHERE}, or take {shared[0]} out of bait_mounts",
        )
    elif not machine.readable(folder):
        yield warning(
            "SlurmdSpoolDir",
            folder,
            "can't be read here: nobody can look why slurmd did not start a job",
            "`systemctl status slurmd`: it makes that folder when it starts",
        )
    yield ok("SlurmdSpoolDir", folder)


CHECKS = (
    Check("slurm.root_jobs", "DisableRootJobs: placeholders are jobs of root", judged_by(root_jobs)),
    Check("slurm.accounting", "AccountingStorageEnforce: root has an association", where_slurm_answers(accounting)),
    Check("slurm.cred_expire", "AuthInfo: how long a job that went back may wait", judged_by(credentials)),
    Check("slurm.node_features", "NodeFeaturesPlugins: nobody else sets features", judged_by(node_features)),
    Check("slurm.requeue", "JobRequeue: jobs can begin again", judged_by(requeue)),
    Check("slurm.job_age", "MinJobAge: how long Slurm knows jobs that are over", judged_by(job_age)),
    Check("slurm.overrides", "SlurmdParameters: whom Slurm believes", judged_by(overrides)),
    Check("slurm.limits", "limits of the VMs' partition, and EnforcePartLimits", where_slurm_answers(limits)),
    Check("slurm.spool", "SlurmdSpoolDir: the node's own, and readable", where_slurm_answers(spool), (NODE,)),
)
