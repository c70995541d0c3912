# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm's settings for the whole cluster; see docs/site.md for what each is for."""

from __future__ import annotations

import fnmatch
import re
from typing import Callable, Dict, Iterator, List, Mapping, Sequence

from ..lrms.slurm_hosts import TASK_PROLOG
from ..lrms.slurm_text import fields
from ..model.errors import CommandFailed
from .check import NODE, Check, Finding, Look, Wanted, failure, first_line, ok, skipped, warning
from .host import numbers
from .machine import Machine

LEAST, KNOWN = (22, 5), ((22, 5), (24, 11))
#: nodes that go away and come with a VM must not pass messages on: as many as Slurm allows are spoken to directly
WIDEST = 65533
HOOKS = {"Prolog": "/etc/slurm/prolog.d/50-wnodes", "Epilog": "/etc/slurm/epilog.d/50-wnodes"}
#: seconds that a prolog may take: the hook waits 20 s for its bait, and then may need 60 s to help itself
HOOK_S = 80
#: the hypervisor's own default
LEASE_TTL_S = 120.0
WHERE = "in slurm.conf, and run `scontrol reconfigure`"

#: what commands of Slurm say, and those that start them, where Slurm itself has said nothing
NO_ANSWER = (
    "Unable to contact", "could not be started", "did not end", "timed out", "Connection", "Zero Bytes", "munge",
    "authentication", "Unable to establish", "Unable to process configuration", "Could not establish",
)  # fmt: skip

Config = Mapping[str, Sequence[str]]


def config(shown: str) -> Dict[str, List[str]]:
    """Return key → values of ``scontrol show config``; newer versions number values of one key (``Prolog[0]``)."""
    found: Dict[str, List[str]] = {}
    for key, value in re.findall(r"^(\w+)(?:\[[0-9]+\])?\s*=[ \t]*(.*?)\s*$", shown, re.MULTILINE):
        found.setdefault(key, [])
        if value not in ("", "(null)", "N/A"):
            found[key].append(value)
    return found


def one(settings: Config, key: str) -> str:
    """Return a key's only value, or an empty text."""
    return next(iter(settings.get(key, ())), "")


def words(settings: Config, key: str) -> List[str]:
    """Return the words of a list such as ``Alloc,Contain``, in small letters."""
    return [word.lower() for word in one(settings, key).split(",") if word]


def number(text: str) -> int:
    """Return the number at the beginning of ``300 sec``; 0 where there is none."""
    found = re.match(r"[0-9]+", text)
    return int(found.group()) if found else 0


def partitions(shown: str) -> Dict[str, Dict[str, str]]:
    """Return name → fields of ``scontrol show -o partition``."""
    rows = (fields(line) for line in shown.splitlines() if line.strip())
    return {row["PartitionName"]: row for row in rows if "PartitionName" in row}


def settings_of(machine: Machine) -> Dict[str, List[str]]:
    """Return the settings that slurmctld runs with.

    :raises CommandFailed: it does not answer
    """
    return config(machine.told("scontrol", "show", "config"))


Judge = Callable[[Config, Wanted], Iterator[Finding]]


def where_slurm_answers(look: Look) -> Look:
    """Return a look that is left out where Slurm does not answer: another check tells that, once."""

    def careful(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
        try:
            yield from look(machine, wanted)
        except CommandFailed as error:
            yield skipped("Slurm", f"gave no answer: {first_line(error)}", "see slurm.answers")

    return careful


def refused(error: CommandFailed) -> CommandFailed:
    """Return an error that is Slurm's own answer.

    :raises CommandFailed: it is none: Slurm did not answer
    """
    if any(said.lower() in error.reason.lower() for said in NO_ANSWER):
        raise error
    return error


def judged_by(judge: Judge) -> Look:
    """Return a look at a machine that asks for the settings and has them judged."""
    return where_slurm_answers(lambda machine, wanted: judge(settings_of(machine), wanted))


def answers(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    if not machine.program("scontrol"):
        yield failure(
            "scontrol", "", "is not there", "install Slurm's commands (slurm-client) and its configuration here"
        )
        return
    done = machine.run("scontrol", "ping", check=False)
    said = done.stdout.strip() or done.stderr.strip()
    if not re.search(r"(?i)\bis UP\b", said):
        yield failure(
            "slurmctld", said, "does not answer", "`systemctl status slurmctld` on its machine; is munge running?"
        )
    yield ok("slurmctld", said)


def version(settings: Config, wanted: Wanted) -> Iterator[Finding]:
    seen = one(settings, "SLURM_VERSION")
    series = numbers(seen)[:2]
    if series < LEAST:
        yield failure("Slurm", seen, "22.05 is the oldest that has dynamic nodes as they are used here", "update Slurm")
    elif series not in KNOWN:
        yield warning("Slurm", seen, "tested with 22.05 and 24.11 only", "try it on a test cluster first")
    yield ok("Slurm", seen)


def configless(settings: Config, wanted: Wanted) -> Iterator[Finding]:
    if "enable_configless" not in words(settings, "SlurmctldParameters"):
        yield failure(
            "SlurmctldParameters",
            one(settings, "SlurmctldParameters"),
            "VMs fetch their configuration from slurmctld",
            f"add enable_configless {WHERE}",
        )


def max_nodes(settings: Config, wanted: Wanted) -> Iterator[Finding]:
    seen = number(one(settings, "MaxNodeCount"))
    names = len(wanted.nameserver.pool.pool().names) if wanted.nameserver is not None else 0
    if seen <= names:
        reason = f"there is no room for {names} VMs beside the nodes" if names else "VMs could not join"
        cure = "set it to the physical nodes and twice the host names of VMs in slurm.conf, and restart slurmctld"
        yield failure("MaxNodeCount", str(seen), reason, cure)
    yield ok("MaxNodeCount", str(seen))


def tree_width(settings: Config, wanted: Wanted) -> Iterator[Finding]:
    width, nodes = number(one(settings, "TreeWidth")), number(one(settings, "MaxNodeCount"))
    if width < min(WIDEST, nodes):
        yield failure(
            "TreeWidth",
            str(width),
            "slurmctld would send messages by way of VMs, which can't pass them on",
            f"set TreeWidth={WIDEST} {WHERE}",
        )


def select(settings: Config, wanted: Wanted) -> Iterator[Finding]:
    plugin, parameters = one(settings, "SelectType"), one(settings, "SelectTypeParameters")
    if plugin != "select/cons_tres":
        yield failure(
            "SelectType", plugin, "VMs share nodes with jobs", "set SelectType=select/cons_tres in slurm.conf"
        )
    if "memory" not in parameters.lower():
        yield failure(
            "SelectTypeParameters",
            parameters,
            "memory is not on Slurm's books: VMs and jobs would take more than there is",
            "set SelectTypeParameters=CR_Core_Memory (or CR_CPU_Memory) in slurm.conf",
        )


def scheduler(settings: Config, wanted: Wanted) -> Iterator[Finding]:
    parameters = words(settings, "SchedulerParameters")
    keys = {parameter.partition("=")[0] for parameter in parameters}
    missing = [key for key in ("batch_sched_delay", "sched_min_interval", "bf_interval") if key not in keys]
    if missing:
        yield warning(
            "SchedulerParameters",
            ",".join(parameters),
            f"without {', '.join(missing)} jobs may start seconds later",
            f"see docs/site.md, Dispatch latency; set them {WHERE}",
        )
    if "defer" in keys:
        yield warning(
            "SchedulerParameters",
            "defer",
            "every job waits for the next pass of the scheduler, and is dispatched twice",
            f"take defer out {WHERE}",
        )


def prolog_flags(settings: Config, wanted: Wanted) -> Iterator[Finding]:
    flags = words(settings, "PrologFlags")
    if not {"alloc", "contain", "x11"} & set(flags):  # the others mean Alloc too
        yield failure(
            "PrologFlags",
            ",".join(flags),
            "prologs would run at a job's first step: too late to stop it",
            f"set PrologFlags=Alloc {WHERE}",
        )
    if "nohold" in flags:
        yield warning(
            "PrologFlags",
            "NoHold",
            "an interactive job begins before the hook has said whether it may",
            f"take NoHold out {WHERE}",
        )
    if "serial" in flags:
        yield warning(
            "PrologFlags",
            "Serial",
            "jobs of one node wait for each other's hooks, up to 20 s each while the bait does not answer",
            f"take Serial out {WHERE}",
        )


def hooks(settings: Config, wanted: Wanted) -> Iterator[Finding]:
    for key, path in HOOKS.items():
        patterns = [pattern for value in settings.get(key, ()) for pattern in value.split(",")]
        if not any(fnmatch.fnmatch(path, pattern) for pattern in patterns):
            folder = path.rpartition("/")[0]
            yield failure(
                key,
                ", ".join(patterns),
                f"does not reach {path}, which the role bait installs",
                f"set {key}={folder}/* {WHERE}",
            )
    limit = number(one(settings, "PrologEpilogTimeout")) or number(one(settings, "PrologTimeout"))
    if 0 < limit < HOOK_S:
        yield failure(
            "PrologEpilogTimeout",
            f"{limit} s",
            f"without its bait the hook may need {HOOK_S} s to put a job back; cut off, it can't",
            f"set it to {HOOK_S} or more, or leave it out",
        )


def task_prolog(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    seen = one(settings_of(machine), "TaskProlog")
    mode = machine.mode(seen) if seen else None
    if seen and (mode is None or not mode & 0o111):
        yield failure(
            f"TaskProlog {seen}",
            "" if mode is None else f"{mode:04o}",
            f"{'is not there' if mode is None else 'is not executable'}: every task of every job fails on this node",
            "run the playbook site, which installs it; or take TaskProlog out of slurm.conf until it is everywhere"
            if seen == TASK_PROLOG
            else "install it here, or take TaskProlog out of slurm.conf",
        )
    elif seen != TASK_PROLOG and TASK_PROLOG not in (machine.read(seen) or ""):
        yield warning(
            "TaskProlog",
            seen,
            "jobs in VMs see that they were moved: SLURM_RESTART_COUNT, SLURM_JOB_PARTITION, SLURM_JOB_RESERVATION",
            f"call {TASK_PROLOG} in it" if seen else f"set TaskProlog={TASK_PROLOG} {WHERE}",
        )


def default_memory(settings: Config, wanted: Wanted) -> Iterator[Finding]:
    if not any(number(one(settings, key)) for key in ("DefMemPerCPU", "DefMemPerNode", "DefMemPerGPU")):
        yield warning(
            "DefMemPerCPU",
            one(settings, "DefMemPerCPU"),
            "a job that does not say takes a whole node's memory, and a VM of that",
            f"set DefMemPerCPU {WHERE}, or in each partition",
        )


def node_timeout(settings: Config, wanted: Wanted) -> Iterator[Finding]:
    seen = number(one(settings, "SlurmdTimeout"))
    lease = wanted.hypervisor.lease_ttl_s if wanted.hypervisor is not None else LEASE_TTL_S
    if 0 < seen <= lease:  # 0: Slurm gives no node up
        yield failure(
            "SlurmdTimeout",
            f"{seen} s",
            f"must be longer than a lease lasts (hypervisor_settings.lease_ttl_s, {lease:g} s): "
            "else Slurm ends jobs of a node that only lost its network for a moment",
            f"set SlurmdTimeout=300 {WHERE}, or lower lease_ttl_s",
        )
    yield ok("SlurmdTimeout", f"{seen} s")


def munge(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    cure = "`systemctl status munge`; the key must be the cluster's, and clocks must agree"
    try:
        machine.run("unmunge", input=machine.run("munge", "-n").stdout)
    except CommandFailed as error:
        yield failure("munge", "", error.reason, cure)


#: what sbatch says of a node that is drained or down; of rights it would speak first
NOT_NOW = "Requested node configuration is not available"


def rights(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    if wanted.bait is None:
        return
    config = wanted.bait.slurm
    options = ("--test-only", f"--partition={config.placeholder_partition}", f"--nodelist={config.node}", "--wrap=true")
    try:
        machine.run("sbatch", *options)
    except CommandFailed as error:
        said = first_line(refused(error))
        if NOT_NOW in said:
            yield skipped("sbatch of root", "the node is closed, and Slurm tries nothing there: see slurm.node")
            return
        yield failure(
            "sbatch of root",
            " ".join(options),
            said,
            "root must be able to submit to that partition from this node: see slurm.partitions, slurm.node",
        )


CHECKS = (
    Check("slurm.answers", "Slurm's commands are there, and slurmctld answers", answers),
    Check("slurm.munge", "munge makes and takes credentials", munge),
    Check("slurm.version", "Slurm's version", judged_by(version)),
    Check("slurm.configless", "SlurmctldParameters: configuration for VMs", judged_by(configless)),
    Check("slurm.max_nodes", "MaxNodeCount: room for VMs", judged_by(max_nodes)),
    Check("slurm.tree_width", "TreeWidth: slurmctld speaks to VMs itself", judged_by(tree_width)),
    Check("slurm.select", "SelectType: CPUs and memory are on the books", judged_by(select)),
    Check("slurm.scheduler", "SchedulerParameters: how soon jobs start", judged_by(scheduler)),
    Check("slurm.prolog_flags", "PrologFlags: prologs run when a job gets its node", judged_by(prolog_flags)),
    Check("slurm.hooks", "Prolog, Epilog and their time: the hook is called", judged_by(hooks)),
    Check("slurm.task_prolog", "TaskProlog: what moved jobs see", where_slurm_answers(task_prolog), (NODE,), True),
    Check("slurm.default_memory", "DefMemPerCPU: what jobs get that do not say", judged_by(default_memory)),
    Check("slurm.node_timeout", "SlurmdTimeout against the time of leases", judged_by(node_timeout)),
    Check("slurm.rights", "root can submit placeholders from this node", where_slurm_answers(rights), (NODE,)),
)
