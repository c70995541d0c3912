# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of jobs on the lab: from submission to the first line on each way to a VM, and what many of them leave."""

from __future__ import annotations

import json
import random
import shlex
import statistics
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.bench.figures import show
from tests.e2e import lab, test_pool

HOME = lab.LAB / "site" / "home" / "alice"
FIRST_LINE = "#!/bin/sh\n: > first.$SLURM_JOB_ID\n"
VIRTUAL = test_pool.ON_NODE
PLAIN = ("-w", test_pool.NODE)
#: a VM that is about to run its user's job is not counted as ours: these parts are the batch system's
LRMS_PHASES = ("dispatch", "second_dispatch")


#: seconds between two looks of Slurm's for work; a job that is submitted as soon as another begins comes just after one
TICK_S = 1.0
MOMENTS = random.Random(1)


def pause() -> bool:
    """Leave the machine to what is measured for a while."""
    threading.Event().wait(0.02)
    return False


def started(*options: str, script: str = FIRST_LINE) -> tuple[str, float]:
    """Submit a job, wait until it has started; return its id and the seconds from submission to its first line.

    Both ends are read from the clock of the machine that all machines of the lab share: the file the first line makes
    is made by that machine's kernel, for a VM too. The moment is any one between two looks of the batch system.
    """
    threading.Event().wait(MOMENTS.uniform(0.0, TICK_S))
    submit = shlex.join(("sbatch", "--parsable", *options))
    as_alice = ("runuser", "-u", "alice", "--", "env", "-C", "/home/alice", "HOME=/home/alice", "sh", "-c")
    before, number = lab.ssh("head", *as_alice, f"date +%s.%N; exec {submit}", stdin=script).split()
    mark = HOME / f"first.{number}"
    lab.until(f"job {number} to start", lambda: mark.exists() or pause(), lab.START_S)
    spent = mark.stat().st_mtime - float(before)
    mark.unlink()
    return number, spent


def measured(name: str, runs: int, path: str, ready: Callable[[], Any], *options: str) -> None:
    """Show a way to a VM, in turn with plain jobs; the phases are medians."""
    plain, spent, phases = [], [], []
    for _ in range(runs):
        ready()
        plain.append(started(*PLAIN)[1])
        number, seconds = started(*options)
        job = lab.over(number)
        if job["path"] != path:
            raise SystemExit(f"{name}: job {number} came by the path {job['path']!r}, not {path!r}: {job['reason']}")
        spent.append(seconds)
        phases.append(job["phases"])
    names = [phase for phase in phases[0] if phase not in ("end", "cleanup")]
    medians = {phase: round(statistics.median(run.get(phase, 0.0) for run in phases), 3) for phase in names}
    start = statistics.median(plain)
    ours = [sum(run[phase] for phase in names if phase in run and phase not in LRMS_PHASES) for run in phases]
    show(
        name, spent, "s", {"plain Slurm start": round(start, 3)}, ratio=round(statistics.median(spent) / start, 2),
        ours=round(statistics.median(ours), 3), phases=medians,
    )  # fmt: skip


def clean() -> None:
    lab.until("the site to be clean", lambda: lab.left() == "", lab.CLEAN_S)


def settled() -> None:
    """Wait until one VM waits and nothing else is under way."""
    test_pool.waiting()
    lab.until("jobs to be over", lambda: not [job for job in jobs() if job["state"] != "CLOSED"], lab.CLEAN_S)


def jobs() -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = json.loads(lab.ssh("head", "wnodes", "jobs", "--json"))
    return told


CONFIGURE = """
import sys, yaml
path = "/etc/wnodes/hypervisor.yml"
with open(path) as file:
    settings = yaml.safe_load(file)
settings.pop("template_cache_mib", None)
if sys.argv[1] != "-":
    settings["template_cache_mib"] = int(sys.argv[1])
with open(path, "w") as file:
    yaml.safe_dump(settings, file)
"""


def templates(mib: str) -> None:
    lab.ssh(test_pool.NODE, "/opt/wnodes/bin/python", "-", mib, stdin=CONFIGURE)
    lab.ssh(test_pool.NODE, "systemctl", "restart", "wnodes-hypervisor.service")
    lab.until("the node to be ready", lambda: "idle" in lab.node_state(test_pool.NODE), lab.CLEAN_S)


def job_start_cold(runs: int) -> None:
    """On a VM that boots."""
    templates("0")
    try:
        measured("job_start_cold", runs, "cold", clean, *VIRTUAL)
    finally:
        templates("-")


@contextmanager
def running(number: int) -> Iterator[None]:
    """Let VMs run beside what is measured."""
    there = [lab.submit("#!/bin/sh\nsleep 3600\n", *VIRTUAL) for _ in range(number)]
    try:
        for job in there:
            lab.in_state(job, "RUNNING")
        yield
    finally:
        for job in there:
            lab.ssh("head", "scancel", job)
            lab.over(job)


def has_template() -> None:
    lab.until("a template", lambda: lab.sh(test_pool.NODE, "ls /var/lib/wnodes/templates || true").strip(), lab.START_S)


def job_start_restore(runs: int) -> None:
    """On a VM that is restored, with two VMs running."""
    number, _spent = started(*VIRTUAL)
    lab.over(number)
    has_template()
    with running(2):
        measured("job_start_restore", runs, "restore", lambda: None, *VIRTUAL)
    clean()


def job_start_pool(runs: int) -> None:
    """On a VM that waits, by the bait."""
    with test_pool.pool(flavours=[test_pool.ONE]):
        measured("job_start_pool", runs, "pool", settled, *VIRTUAL)
        refill()


def job_start_direct(runs: int) -> None:
    """On a VM that waits, straight from the scheduler."""
    with test_pool.pool(flavours=[test_pool.ONE], offer=True):
        measured("job_start_direct", runs, "direct", settled, "-C", lab.FEATURE)


def refill(number: int = 7) -> None:
    """What the last VMs for the pool took, from the wish to one that waits in the batch system, and up to the VM."""
    script = f"journalctl -u wnodes-bait -o cat | grep -o 'waits after [0-9.]* s' | tail -{number}"
    seconds = [float(line.split()[2]) for line in lab.sh(test_pool.NODE, script).splitlines()]
    vms = json.loads(lab.sh(test_pool.NODE, "curl -s --unix-socket /run/wnodes/hypervisor.sock http://local/v1/vms"))
    made = [
        {move["state"]: move["at"] for move in vm["history"]} for vm in vms if vm["request"]["id"].startswith("pool")
    ]
    ready = [at["READY"] - at["PLANNED"] for at in made if "READY" in at][-number:]
    show("recycle_vm_ready", ready, "s", None)
    show("recycle_vm_waits", seconds, "s", None)


def pss(process: str) -> str:
    """Return a shell script that prints a process's memory in MiB."""
    return f"awk '/^Pss:/ {{print int($2/1024)}}' /proc/{process}/smaps_rollup"


BAIT, HYPERVISOR = (f"$(systemctl show -p MainPID --value wnodes-{name})" for name in ("bait", "hypervisor"))
STATE = "/var/lib/wnodes"
COUNTS = {
    "domains": "virsh -q list --all --name | grep -c .",
    "vm_folders": f"ls {STATE}/vms | wc -l",
    "trash": f"ls {STATE}/trash | wc -l",
    "disk_mib": f"du -smc {STATE}/vms {STATE}/trash {STATE}/templates | tail -1",
    "bait_mib": pss(BAIT),
    "hypervisor_mib": pss(HYPERVISOR),
    "libvirtd_mib": pss("$(pidof libvirtd)"),
    "threads": f"ls /proc/{BAIT}/task /proc/{HYPERVISOR}/task | grep -c '^[0-9]'",
    "descriptors": f"ls /proc/{BAIT}/fd /proc/{HYPERVISOR}/fd | grep -c '^[0-9]'",
}
SITE_COUNTS = {
    "leases": "wnodes leases --json | grep -c '\"name\"'",
    "slurm_nodes": "sinfo -h -a -N -o %N | sort -u | wc -l",
    "reservations": "scontrol -o show reservation | grep -c wn_",
    "placeholders": "squeue -h -a -p wnhold,wnoffer | wc -l",
}


def counts() -> dict[str, int]:
    """Return what there is of everything that could leak."""
    seen = {name: lab.sh(test_pool.NODE, f"{script} || true") for name, script in COUNTS.items()}
    seen.update({name: lab.sh("head", f"{script} || true") for name, script in SITE_COUNTS.items()})
    return {name: int(text.split()[0]) for name, text in seen.items()}


def turnover(number: int) -> None:
    """Many jobs in a row through one pool: nothing may grow."""
    with test_pool.pool(flavours=[{**test_pool.ONE, "waiting": 2}]):
        test_pool.waiting(2)
        for _ in range(3):
            lab.over(started(*VIRTUAL)[0])
        test_pool.waiting(2)
        before, spent, paths = counts(), [], []
        for _ in range(number):
            job, seconds = started(*VIRTUAL)
            spent.append(seconds)
            paths.append(job)
        lab.over(job)
        test_pool.waiting(2)
        after = counts()
    show("turnover", spent, "s", None, jobs=number, before=before, after=after)
