# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm 22.05 and later, through its own commands.

Seen on 22.05.8: a prolog that does not answer blocks its job, so everything here happens before the hook's answer or
long after it; ``requeue`` alone would let the owner free the job, so the hold is an administrator's.
"""

from __future__ import annotations

import base64
import grp
import os
import pwd
import re
from dataclasses import dataclass
from typing import Callable, Container, Dict, Iterable, List, Optional, Tuple

from ..model.errors import CommandFailed, ConfigError, LrmsError, NotFoundError
from ..model.job import Dispatch
from ..model.resources import Resources
from ..model.vm import GuestFile, GuestSetup
from ..process import Completed, run
from . import slurm_text as text
from .base import HostState, Lrms, LrmsJob, LrmsJobState, VmHost, Wish

VM_FEATURE = "wnvm"
TAG_PREFIX = "vm_"
REASON = "wnodes: "
_GONE = ("Invalid job id", "Invalid node name", "not found", "Requested reservation is invalid", "No such")


@dataclass(frozen=True)
class SlurmConfig:
    """How we use a site's Slurm.

    :param node: this node's name in Slurm
    :param vm_partition: partition of the VMs (``ReqResv=YES``)
    :param placeholder_partition: partition of the placeholders (``RootOnly=YES``, highest PriorityTier)
    :param munge_key: given to batch VMs; empty: the image has a way of its own
    :param guest_accounts: write the job's user and groups into the VM (no directory service in the image)
    :param timeout_s: limit of each call of a Slurm command, in seconds
    """

    node: str
    vm_partition: str = "wnvm"
    placeholder_partition: str = "wnhold"
    munge_key: str = "/etc/munge/munge.key"
    guest_accounts: bool = True
    timeout_s: float = 15.0
    adopt_dir: str = "/var/lib/wnodes/adopt"

    def __post_init__(self) -> None:
        if not re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z", self.node):
            raise ConfigError(object="slurm.node", value=repr(self.node), reason="is not a node name")
        if self.timeout_s <= 0:
            raise ConfigError(
                object="slurm.timeout_s", value=str(self.timeout_s), reason="must be more than 0 (seconds)"
            )


Runner = Callable[..., Completed]


class Slurm(Lrms):
    """See ``Lrms``.

    :param runner: replaces ``process.run`` in tests
    """

    def __init__(self, config: SlurmConfig, runner: Runner = run) -> None:
        self._config, self._runner = config, runner

    def _run(self, *argv: str, input: Optional[str] = None) -> str:
        environment = {"PATH": "/usr/bin:/bin:/usr/local/bin:/opt/slurm/bin", "SLURM_TIME_FORMAT": "%s"}
        if "SLURM_CONF" in os.environ:
            environment["SLURM_CONF"] = os.environ["SLURM_CONF"]
        try:
            return self._runner(argv, timeout=self._config.timeout_s, input=input, env=environment).stdout
        except CommandFailed as error:
            if any(said in error.reason for said in _GONE):
                raise NotFoundError(object=argv[0], value=error.value, reason=error.reason) from None
            raise LrmsError(
                object=error.object, value=error.value, reason=error.reason, hint="is slurmctld up? try: scontrol ping"
            ) from None

    def _update(self, *pairs: str) -> None:
        self._run("scontrol", "update", *pairs)

    # reading

    def wish(self, dispatch: Dispatch) -> Optional[Wish]:
        if self.placeholder_key(dispatch):
            return None
        environment = dispatch.environment
        return text.wish(environment.get("SLURM_JOB_CONSTRAINTS", ""), environment.get("SLURM_JOB_COMMENT", ""))

    def placeholder_key(self, dispatch: Dispatch) -> str:
        # the partition is RootOnly, so nobody else gets a job there
        if dispatch.environment.get("SLURM_JOB_PARTITION") != self._config.placeholder_partition:
            return ""
        for key, number in self.placeholders().items():
            if number == dispatch.job_id:
                return key
        return ""

    def job(self, job_id: str) -> Optional[LrmsJob]:
        # of a task the prolog knows only its number, and the last task's is the whole array's id
        found = self.jobs([job_id])
        return found.get(job_id) or next((job for job in found.values() if job.number == job_id), None)

    def jobs(self, job_ids: Iterable[str]) -> Dict[str, LrmsJob]:
        wanted = ",".join(sorted(set(job_ids)))
        if not wanted:
            return {}
        try:
            output = self._run("squeue", "-h", "-a", "-r", "-t", "all", "-j", wanted, "-O", text.SQUEUE_FORMAT)
        except NotFoundError:
            return {}
        return text.jobs(output)

    def name(self, job_id: str) -> str:
        try:
            return text.job_name(self._run("scontrol", "show", "-o", "job", job_id))
        except NotFoundError:
            return ""

    def _nodes(self) -> List[Tuple[str, int, Tuple[str, ...]]]:
        return text.nodes(self._run("sinfo", "-h", "-a", "-N", "-O", text.NODES_FORMAT))

    def largest_node_mib(self, tag: str) -> int:
        feature = TAG_PREFIX + tag
        return max((size for _n, size, has in self._nodes() if feature in has and VM_FEATURE not in has), default=0)

    def node_mib(self) -> int:
        for name, size, _features in self._nodes():
            if name == self._config.node:
                return size
        raise LrmsError(
            object=f"node {self._config.node}",
            reason="is not known to Slurm",
            hint="check slurm.node in bait.yml and slurm.conf",
        )

    # stopping a job and letting it go

    def mark(self, job_id: str, text: str) -> None:
        self._update(f"JobId={job_id}", f"AdminComment={text}")

    def original(self, job_id: str) -> Dict[str, str]:
        job = self.job(job_id)
        if job is None:
            raise NotFoundError(object=f"job {job_id}", reason="is not known to Slurm")
        shown = text.fields(self._run("scontrol", "show", "-o", "job", job_id))
        # users can forge this one with a job name; it only keeps their own job off nodes
        return {**job.fixed, "ExcNodeList": shown.get("ExcNodeList", "")}

    def stop(self, job_id: str) -> None:
        job = self.job(job_id)
        if job is None or job.state in (LrmsJobState.ENDED, LrmsJobState.CANCELLED):
            return
        if job.state is LrmsJobState.RUNNING:
            if job.fixed["BatchFlag"] == "0":
                self._run("scancel", job_id)
                return
            self._update(f"JobId={job_id}", "Requeue=1")  # defeats --no-requeue
        # the hold comes first: requeued without it the job could be dispatched again at once
        self._run("scontrol", "hold", job_id)
        if job.state is LrmsJobState.RUNNING:
            self._run("scontrol", "requeue", job_id)

    def pin(self, job_id: str, host: str, user: str, original: Dict[str, str]) -> Dict[str, str]:
        changed = {"Partition": self._config.vm_partition, "ReqNodeList": host, "ReservationName": _reservation(host)}
        self._update(f"ReservationName={_reservation(host)}", f"Users={user}")
        # without its old value TimeLimit would become the partition's
        set_now = {**changed, "TimeLimit": original["TimeLimit"], "Requeue": original["Requeue"]}
        self._update(f"JobId={job_id}", *(f"{key}={value}" for key, value in set_now.items()), "StartTime=now")
        fixed = {key: value for key, value in set_now.items() if key != "Requeue"}
        return {**fixed, "Features": original["Features"]}

    def release(self, job_id: str) -> None:
        self._run("scontrol", "release", job_id)

    def give_back(self, job_id: str, original: Dict[str, str], mark: str, after_s: float, avoid_node: bool) -> None:
        excluded = [item for item in (original["ExcNodeList"], self._config.node if avoid_node else "") if item]
        self._unpin(job_id, {**original, "ExcNodeList": ",".join(excluded)}, mark, after_s)
        self.release(job_id)

    def keep_held(self, job_id: str, original: Dict[str, str], mark: str) -> None:
        self._unpin(job_id, original, mark, 0)

    def _unpin(self, job_id: str, original: Dict[str, str], mark: str, after_s: float) -> None:
        job = self.job(job_id)
        if job is None:
            raise NotFoundError(object=f"job {job_id}", reason="is not known to Slurm")
        wanted = {
            key: original[key] for key in ("Partition", "ReqNodeList", "ExcNodeList", "ReservationName", "TimeLimit")
        }
        wanted["Requeue"] = original["Requeue"]
        wanted["StartTime"] = f"now+{int(after_s)}" if after_s >= 1 else "now"
        # in the same call: after it, another bait may own the job and its mark
        wanted["AdminComment"] = mark
        self._update(
            f"JobId={job_id}", *(f"{key}={value}" for key, value in wanted.items() if job.fixed.get(key) != value)
        )

    def adopt(self, known: Container[str]) -> Tuple[str, ...]:
        freed = []
        marks = os.listdir(self._config.adopt_dir) if os.path.isdir(self._config.adopt_dir) else []
        for job_id in marks:
            job = self.job(job_id)
            if job is not None and job.state is LrmsJobState.COMPLETING:
                continue
            if job is not None and job.state is LrmsJobState.HELD and job_id not in known:
                self._update(f"JobId={job_id}", "StartTime=now")
                self.release(job_id)
                freed.append(job_id)
            os.unlink(os.path.join(self._config.adopt_dir, job_id))
        return tuple(freed)

    # the node's books

    def place(self, key: str, resources: Resources) -> str:
        existing = self.placeholders().get(key)
        if existing:
            return existing
        config = self._config
        script = "#!/bin/sh\n# keeps the share of a virtual machine off this node's books\nexec sleep infinity\n"
        options = [
            "--parsable",
            "--export=NONE",
            "--no-requeue",
            f"--job-name=wnodes-{key}",
            f"--partition={config.placeholder_partition}",
            f"--nodelist={config.node}",
            "--nodes=1",
            "--ntasks=1",
            f"--cpus-per-task={resources.cpus}",
            f"--mem={resources.memory_mib}M",
            "--time=UNLIMITED",
            "--chdir=/",
            "--output=/dev/null",
            "--error=/dev/null",
        ]
        return self._run("sbatch", *options, input=script).strip().split(";")[0]

    def placed(self, placeholder: str) -> bool:
        job = self.job(placeholder)
        if job is None or job.state in (LrmsJobState.ENDED, LrmsJobState.CANCELLED):
            raise NotFoundError(object=f"placeholder {placeholder}", reason="has ended")
        return job.state is LrmsJobState.RUNNING

    def unplace(self, key: str) -> None:
        number = self.placeholders().get(key)
        if number:
            self._run("scancel", number)

    def placeholders(self) -> Dict[str, str]:
        config = self._config
        query = ("squeue", "-h", "-a", "-u", "root", "-t", "PENDING,CONFIGURING,RUNNING")
        output = self._run(*query, "-p", config.placeholder_partition, "-o", "%i %j %n")
        rows = (line.split() for line in output.splitlines())
        ours = (row for row in rows if len(row) == 3 and row[1].startswith("wnodes-") and row[2] == config.node)
        return {row[1][len("wnodes-") :]: row[0] for row in ours}

    # VMs as hosts

    def guest_setup(self, host: VmHost, user: str, uid: int) -> GuestSetup:
        settings = {
            "CPUs": str(host.resources.cpus),
            "RealMemory": str(host.resources.memory_mib),
            "TmpDisk": str(host.resources.scratch_mib),
            "Feature": f"{VM_FEATURE},{TAG_PREFIX}{host.tag}",
            "NodeAddr": host.address,
        }
        conf = " ".join(f"{key}={value}" for key, value in settings.items())
        options = f"-Z -N {host.name} --conf-server {self._conf_server()} --conf '{conf}'"
        files = [GuestFile("/etc/default/slurmd", f'SLURMD_OPTIONS="{options}"\n')]
        commands: List[Tuple[str, ...]] = []
        if self._config.munge_key:
            with open(self._config.munge_key, "rb") as key:
                files.append(GuestFile("/run/munge.key.b64", base64.b64encode(key.read()).decode("ascii"), 0o600))
            decode = (
                "umask 077; base64 -d /run/munge.key.b64 >/etc/munge/munge.key && chown munge: /etc/munge/munge.key"
            )
            commands.append(("/bin/sh", "-c", f"{decode}; rc=$?; rm -f /run/munge.key.b64; exit $rc"))
        if self._config.guest_accounts:
            files += _accounts(user)
        commands.append(("systemctl", "restart", "munge.service", "slurmd.service"))
        return GuestSetup(tuple(files), tuple(commands))

    def _conf_server(self) -> str:
        shown = self._run("scontrol", "show", "config")
        host = re.search(r"^SlurmctldHost\[0\]\s*=\s*([^\s(]+)(?:\(([^)\s]+)\))?", shown, re.MULTILINE)
        port = re.search(r"^SlurmctldPort\s*=\s*([0-9]+)", shown, re.MULTILINE)
        if not host:
            raise LrmsError(object="scontrol show config", reason="names no SlurmctldHost")
        return f"{host.group(2) or host.group(1)}:{port.group(1) if port else 6817}"

    def _node(self, name: str) -> str:
        return self._run("scontrol", "show", "-o", "node", name)

    def host(self, name: str) -> HostState:
        try:
            shown = self._node(name)
        except NotFoundError:
            return HostState.ABSENT
        return text.host_state(text.fields(shown).get("State", "UNKNOWN"))

    def open_host(self, name: str) -> None:
        try:
            self._run("scontrol", "show", "-o", "reservation", _reservation(name))
        except NotFoundError:
            options = [f"Nodes={name}", "Users=root", "StartTime=now", "Duration=infinite", "Flags=IGNORE_JOBS"]
            self._run("scontrol", "create", "reservation", f"ReservationName={_reservation(name)}", *options)
        # It registers open: its partition takes no job without a reservation, and opening it later costs seconds.
        if self.host(name) is HostState.CLOSED:
            self._update(f"NodeName={name}", "State=RESUME")

    def fail_host(self, name: str, reason: str) -> None:
        try:
            self._update(f"NodeName={name}", "State=DOWN", f"Reason={REASON}{reason}"[:200])
        except NotFoundError:
            return

    def remove_host(self, name: str) -> None:
        for what in (f"ReservationName={_reservation(name)}", f"NodeName={name}"):
            try:
                self._run("scontrol", "delete", what)
            except NotFoundError:
                continue

    # the node

    def advertise(self, tags: Tuple[str, ...], problem: str) -> bool:
        node = f"NodeName={self._config.node}"
        shown = self._node(self._config.node)
        values = text.fields(shown)
        present = [item for item in values.get("AvailableFeatures", "").split(",") if item]
        wanted = [item for item in present if not item.startswith(TAG_PREFIX)]
        wanted += [TAG_PREFIX + tag for tag in sorted(tags)]
        changed = False
        active = [item for item in values.get("ActiveFeatures", "").split(",") if item]
        if sorted(present) != sorted(wanted) or sorted(active) != sorted(wanted):
            features = ",".join(wanted)
            self._update(node, f"AvailableFeatures={features}", f"ActiveFeatures={features}")
            changed = True
        drained, ours = "DRAIN" in values.get("State", ""), text.node_reason(shown).startswith(REASON)
        if problem and not drained:
            self._update(node, "State=DRAIN", f"Reason={REASON}{problem}"[:200])
            changed = True
        elif not problem and drained and ours:
            self._update(node, "State=RESUME")
            changed = True
        return changed


def _reservation(host: str) -> str:
    return f"wn_{host}"


def _accounts(user: str) -> List[GuestFile]:
    """Return the guest's account files for the job's user, as this node knows it."""
    account = pwd.getpwnam(user)
    members = []
    for gid in os.getgrouplist(user, account.pw_gid):
        try:
            members.append(f"{grp.getgrgid(gid).gr_name}:x:{gid}:{user}\n")
        except KeyError:
            continue
    return [
        GuestFile("/var/lib/extrausers/passwd", ":".join(map(str, account)) + "\n"),
        GuestFile("/var/lib/extrausers/group", "".join(members)),
        GuestFile("/var/lib/extrausers/shadow", f"{account.pw_name}:!:::::::\n", 0o640),
    ]
