# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab site as its users and administrators see it: over ssh, with the batch system's and our own commands.

Nothing here sleeps: each look costs a round trip, and every wait has a limit that says what it waited for.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tests.patience import patience

REPO = Path(__file__).resolve().parent.parent.parent
COLLECTIONS = REPO / ".venv" / "collections"
INVENTORY = REPO / "playbooks" / "inventory" / f"{os.environ.get('WNODES_LAB', 'lab')}.yml"
SETTINGS = yaml.safe_load(INVENTORY.read_text())["all"]["vars"]
LAB, TAG = Path(SETTINGS["lab_dir"]), SETTINGS["lab_image_tag"]
#: the site's /shared/images, as the machine that runs the tests has it
PUBLISHED = LAB / "site" / "shared" / "images"
FEATURE = f"vm_{TAG}"
NODES = ("hv1", "hv2")
#: a cold boot under TCG takes some 20 s, two at once twice that
START_S = 150
CLEAN_S = 60
#: what a job waits for that shall end when a test says so, however slow the machine is
GO = "/home/alice/go"
UNTIL_TOLD = f"#!/bin/sh\nfor second in $(seq 1800); do [ -e {GO} ] && break; sleep 1; done\n"

#: on a node: what a test that was cut off may have spoiled
MEND = """
for kept in /etc/wnodes/*.e2e; do [ -e "$kept" ] && mv "$kept" "${kept%.e2e}" && changed=yes; done
chmod +x /etc/slurm/prolog.d/50-wnodes
systemctl reset-failed
[ -z "$changed" ] || systemctl restart wnodes-hypervisor wnodes-bait
systemctl start libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket
systemctl start wnodes-hypervisor wnodes-hook.socket wnodes-bait
"""

T = TypeVar("T")


class Failed(AssertionError):
    """A command on a machine failed, or a wait took too long."""


def ssh(node: str, *argv: str, stdin: str = "", check: bool = True, limit_s: float = 60) -> str:
    """Run ``argv`` as root on a machine of the lab; return what it printed."""
    command = ["ssh", "-F", str(LAB / "ssh" / "config"), node, "--", shlex.join(argv)]
    limit_s *= patience()
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"{shlex.join(argv)} on {node}: did not end within {limit_s:.0f} s") from None
    if check and done.returncode:
        raise Failed(f"{shlex.join(argv)} on {node}: exit code {done.returncode}: {done.stderr}{done.stdout}")
    return done.stdout if check else done.stdout + done.stderr


def sh(node: str, script: str, **options: Any) -> str:
    """Run a shell script as root on a machine of the lab."""
    return ssh(node, "sh", "-c", script, **options)


def as_user(user: str, *argv: str, check: bool = True) -> str:
    """Run ``argv`` on the head node as ``user``, from the user's home."""
    home = f"/home/{user}"
    return ssh("head", "runuser", "-u", user, "--", "env", "-C", home, f"HOME={home}", *argv, check=check)


def submit(script: str, *options: str, user: str = "alice") -> str:
    """Submit a job script (text) and return the job's id."""
    name = f"e2e.{time.time_ns()}.sh"
    ssh("head", "runuser", "-u", user, "--", "tee", f"/home/{user}/{name}", stdin=script)
    try:
        return as_user(user, "sbatch", "--parsable", *options, name).strip()
    finally:
        ssh("head", "rm", "-f", f"/home/{user}/{name}")


def virtual(number: str) -> dict[str, Any]:
    """Return what the site knows of the last journey of a virtual job; empty while it knows nothing."""
    jobs = json.loads(ssh("head", "wnodes", "jobs", "--all", "--json", check=False) or "[]")
    return next((job for job in reversed(jobs) if job["lrms_id"] == number), {})


def native(number: str, column: str) -> str:
    """Return one column (squeue -O) of a job."""
    return ssh("head", "squeue", "-h", "-a", "-t", "all", "-j", number, "-O", f"{column}:2000").strip()


def output(number: str, user: str = "alice") -> str:
    """Return what a job wrote."""
    return ssh("head", "cat", f"/home/{user}/slurm-{number}.out")


def facts(number: str, user: str = "alice") -> dict[str, str]:
    """Return the ``key=value`` words a job wrote."""
    return dict(word.split("=", 1) for word in output(number, user).split() if "=" in word)


def until(what: str, look: Callable[[], T], limit_s: float) -> T:
    """Return the first true answer of ``look``; fail saying ``what`` was awaited.

    :param limit_s: seconds it may take on a quiet machine
    """
    begin = time.monotonic()
    while True:
        seen = look()
        if seen:
            return seen
        waited = time.monotonic() - begin
        if waited > limit_s * patience():
            raise Failed(f"waited {waited:.0f} s for {what}; last seen: {seen!r}; status:\n{status_text()}")


def in_state(number: str, *states: str, limit_s: float = START_S) -> dict[str, Any]:
    """Wait until the virtual job is in one of ``states`` and return it."""
    wanted = " or ".join(states)

    def look() -> dict[str, Any]:
        job = virtual(number)
        return job if job.get("state") in states else {}

    return until(f"job {number} to be {wanted}", look, limit_s)


def over(number: str, limit_s: float = START_S) -> dict[str, Any]:
    """Wait until the virtual job is over and all that was made for it is gone; return it."""
    return in_state(number, "CLOSED", limit_s=limit_s)


@contextmanager
def stopped(node: str, *units: str, start: tuple[str, ...] = ()) -> Iterator[None]:
    """Stop units on a machine; start them again afterwards, or those in ``start``, whatever went wrong."""
    try:
        ssh(node, "systemctl", "stop", *units)
        yield
    finally:
        ssh(node, "systemctl", "start", *(start or reversed(units)))


def is_well() -> bool:
    """Whether no service has a problem and both nodes take jobs."""
    told = sh("head", "wnodes status > /dev/null 2>&1 && echo well; true")
    return "well" in told and all(node_state(node) in ("idle", "mixed", "allocated") for node in NODES)


def left() -> str:
    """Return what jobs left on the site: Slurm nodes, reservations, placeholders, domains, disks; else nothing."""
    slurm = "squeue -h -a -p wnhold,wnvm -o 'job %i'; scontrol -o show reservation | grep -o 'wn_[^ ]*'"
    seen = sh("head", f"{slurm}; sinfo -h -a -N -o '%N' | grep vwn-; true")
    for node in NODES:
        seen += sh(node, "virsh -q list --all --name | grep . | grep -v ^template ; ls /var/lib/wnodes/vms; true")
    return seen.strip()


def service_status(node: str, service: str) -> dict[str, Any]:
    """Return what a service on a node tells of itself; empty while it does not answer."""
    script = "import json, sys; from wnodes.jsonhttp import unix_client as client; name = sys.argv[1]; "
    script += "print(json.dumps(client(name, f'/run/wnodes/{name}.sock').call('GET', '/v1/status')))"
    told = ssh(node, "/opt/wnodes/bin/python", "-c", script, service, check=False)
    return json.loads(told) if told.startswith("{") else {}


def allocated_mib(node: str) -> int:
    """Return the memory the batch system has given away on a node."""
    shown = ssh("head", "scontrol", "show", "-o", "node", node)
    return int(shown.partition("AllocMem=")[2].split()[0])


def node_state(node: str) -> str:
    """Return the batch system's state of a node, e.g. ``idle`` or ``draining``."""
    return ssh("head", "sinfo", "-h", "-n", node, "-p", "main", "-o", "%T").strip()


def status_text() -> str:
    """Return what ``wnodes status`` and ``jobs`` say, for people."""
    return ssh("head", "wnodes", "status", check=False) + ssh("head", "wnodes", "jobs", check=False)


def _on_controller(*argv: str, collections: Path = COLLECTIONS) -> subprocess.CompletedProcess[str]:
    """Run a program here, which is the lab's controller, for at most a quarter of an hour of a quiet machine's."""
    environment = {
        **os.environ,
        "PATH": f"{REPO}/.venv/bin:{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_HOME": str(REPO / ".ansible"),
        "ANSIBLE_INVENTORY": str(INVENTORY),
        "ANSIBLE_FORCE_COLOR": "0",
    }
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    with subprocess.Popen(argv, cwd=REPO, env=environment, text=True, start_new_session=True, **pipes) as process:
        try:
            out, err = process.communicate(timeout=900 * patience())
        except BaseException:  # with its workers: nothing may go on beside what comes next
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(argv, process.returncode, out, err)


def ansible(program: str, *arguments: str, collections: Path = COLLECTIONS) -> subprocess.CompletedProcess[str]:
    """Run one of Ansible's programs on the lab's inventory."""
    return _on_controller(program, *arguments, collections=collections)


def controller(script: str) -> str:
    """Run a shell script on the controller, in the collection's folder; return what it printed."""
    done = _on_controller("bash", "-c", script)
    if done.returncode:
        raise Failed(f"{script}: exit code {done.returncode}: {done.stderr}{done.stdout}")
    return done.stdout


def sign(folder: str, tag: str) -> None:
    """Sign what is published in a folder (by its name) anew, as the builder's signer, under one tag."""
    options = {"path": str(PUBLISHED / folder), "tags": [tag], "valid_days": 180}
    keys = {
        f"sign_{kind}": str(LAB / "signer" / f"signer.{end}") for kind, end in (("key", "key"), ("certificate", "crt"))
    }
    done = ansible("ansible", "localhost", "-m", "wnodes.farm.image_sign", "-a", json.dumps({**options, **keys}))
    if done.returncode:
        raise Failed(done.stdout)


def roll_out(anew: bool = False) -> None:
    """Bring the lab up with the collection rolled out and its image published; what is so already is left alone.

    :param anew: whatever was rolled out before
    """
    if anew:
        (LAB / "demo.sha256").unlink(missing_ok=True)
    command = [str(REPO / ".venv/bin/python"), str(REPO / "tools/demo"), "--site-only"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(done.stdout + done.stderr)


def mend() -> None:
    """Bring the site back to where tests begin, after a run that was cut off."""
    sh("head", f"systemctl start wnodes-nameserver; scancel -u alice; scancel -u bob; rm -f {GO}", check=False)
    for node in NODES:
        sh(node, MEND, check=False)
    ssh("head", "wnodes", "undrain", *NODES, check=False)
    for node in NODES:
        reason = ssh("head", "sinfo", "-h", "-n", node, "-p", "main", "-o", "%E").strip()
        if reason == "test":  # a test's own drain in the batch system, which nobody else lifts
            ssh("head", "scontrol", "update", f"NodeName={node}", "State=RESUME")


def begin() -> None:
    """Bring the site up as tests begin with it; one that can't be mended is rolled out anew."""
    with suppress(Failed):  # it need not be up yet
        mend()
    try:
        roll_out()
        until("the site to be well", is_well, CLEAN_S)
    except Failed:
        roll_out(anew=True)
        mend()
        until("the site to be well", is_well, CLEAN_S)
