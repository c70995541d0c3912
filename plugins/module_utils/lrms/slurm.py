# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm 22.05 and later, through its own commands.

Seen on 22.05.8 and 24.11.5: a prolog that does not answer blocks its job, so everything here happens before the hook's
answer or long after it; ``requeue`` alone would let the owner free the job, so the hold is an administrator's.
"""

from __future__ import annotations

import logging
import os
import pwd
import re
from dataclasses import dataclass
from typing import Callable, Container, Dict, Iterable, List, Optional, Sequence, Set, Tuple

from ..model.errors import CommandFailed, ConfigError, LrmsError, NotFoundError
from ..model.hostlist import expand
from ..model.job import Dispatch
from ..model.resources import Resources
from ..model.vm import GuestFile, GuestSetup
from ..process import Completed, run
from . import slurm_text as text
from .accounts import account_files
from .base import DefaultImage, HostState, Lrms, LrmsJob, LrmsJobState, NodeRoom, Wish, WorkerNode, no_image

log = logging.getLogger(__name__)

VM_FEATURE, OFFERED_FEATURE = "wnvm", "wndirect"
#: an offered VM is chosen before the nodes, whose weight is higher
OFFERED_WEIGHT = 1
#: users that a VM is told of at the most
MAX_ACCOUNTS = 5000
FIRST_UID = 1000
#: where a VM has the key
MUNGE_KEY = "/etc/munge/munge.key"
TAG_PREFIX = "vm_"
#: a feature of each VM's node: which VM it is, for its name will be another one's
KEY = "wnid_"
REASON = "wnodes: "
PLACEHOLDER, NUDGE, REHEARSAL = "wnodes-", "wnnudge-", "wnrehearsal-"
_PLACEHOLDER = "#!/bin/sh\n# keeps the share of a virtual machine off this node's books\nexec sleep infinity\n"
_REHEARSAL = "#!/bin/sh\n# what a host's first job takes longer for is done by this one\n"
_NUDGE = "#!/bin/sh\n# ends at once: at its end Slurm looks for work, otherwise once a second only\n"
_GONE = ("Invalid job id", "Invalid node name", "not found", "Requested reservation is invalid", "No such")


@dataclass(frozen=True)
class SlurmConfig:
    """How we use a site's Slurm.

    :param node: this node's name in Slurm
    :param vm_partition: partition of the VMs (``ReqResv=YES``)
    :param placeholder_partition: partition of the placeholders (``RootOnly=YES``, highest PriorityTier)
    :param offer_partition: partition of placeholders that give way to jobs (``RootOnly=YES``, lowest PriorityTier,
        ``PreemptMode=CANCEL``); only for VMs to which Slurm sends jobs itself
    :param munge_key: given to batch VMs; empty: the image has a way of its own
    :param guest_accounts: write the job's user and groups into the VM (no directory service in the image)
    :param timeout_s: limit of each call of a Slurm command, in seconds
    :param adopt_dir: where the hook leaves word of jobs that it put back because the bait did not answer
    """

    node: str
    vm_partition: str = "wnvm"
    placeholder_partition: str = "wnhold"
    offer_partition: str = "wnoffer"
    munge_key: str = "/etc/munge/munge.key"
    guest_accounts: bool = True
    timeout_s: float = 15.0
    adopt_dir: str = "/var/lib/wnodes/adopt"

    @property
    def own_partitions(self) -> Tuple[str, ...]:
        """The partitions that are RootOnly, so that nobody but us has a job there."""
        return self.placeholder_partition, self.offer_partition

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
        #: placeholder that waits → the job that nudges the scheduler after it
        self._nudges: Dict[str, str] = {}
        self._rehearsals: Set[str] = set()

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

    def _scontrol(self, *commands: Sequence[str]) -> None:
        """Give several commands to one scontrol. It goes on after one that fails, and says so at its end."""
        self._run("scontrol", input="".join(text.command(words) for words in commands))

    # reading

    def wish(self, dispatch: Dispatch, default: DefaultImage = no_image) -> Optional[Wish]:
        environment = dispatch.environment
        user, partition = (environment.get(f"SLURM_JOB_{key}", "") for key in ("USER", "PARTITION"))
        if partition in self._config.own_partitions:
            return None
        named = text.wish(environment.get("SLURM_JOB_CONSTRAINTS", ""), environment.get("SLURM_JOB_COMMENT", ""))
        tag = "" if named else default(user, partition)
        return Wish(tag, text.options(environment.get("SLURM_JOB_COMMENT", ""))) if tag else named

    def placeholder_key(self, dispatch: Dispatch) -> str:
        if dispatch.environment.get("SLURM_JOB_PARTITION") not in self._config.own_partitions:
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

    def jobs_on(self, host: str) -> Tuple[LrmsJob, ...]:
        try:
            output = self._run("squeue", "-h", "-a", "-r", "-w", host, "-O", text.SQUEUE_FORMAT)
        except NotFoundError:
            return ()
        found = text.jobs(output).values()
        return tuple(sorted((job for job in found if host in expand(job.host)), key=lambda job: int(job.number or 0)))

    def name(self, job_id: str) -> str:
        try:
            return text.job_name(self._run("scontrol", "show", "-o", "job", job_id))
        except NotFoundError:
            return ""

    def largest_node_mib(self, tag: str) -> int:
        feature = TAG_PREFIX + tag
        nodes = text.nodes(self._run("sinfo", "-h", "-a", "-N", "-O", text.NODES_FORMAT))
        of_vms = {VM_FEATURE, OFFERED_FEATURE}
        return max((size for size, has in nodes if feature in has and not of_vms & set(has)), default=0)

    def room(self) -> NodeRoom:
        shown = self._this_node()
        return text.room(shown, text.node_reason(shown).startswith(REASON))

    def _this_node(self) -> str:
        try:
            return self._node(self._config.node)
        except NotFoundError:
            raise LrmsError(
                object=f"node {self._config.node}",
                reason="is not known to Slurm",
                hint="check slurm.node in bait.yml and slurm.conf",
            ) from None

    # stopping a job and letting it go

    def stop(self, job: LrmsJob, mark: str, placeholder: str = "") -> None:
        if job.state in (LrmsJobState.ENDED, LrmsJobState.CANCELLED):
            return
        marked = (f"JobId={job.id}", f"AdminComment={mark}")
        if job.state is LrmsJobState.RUNNING and job.fixed["BatchFlag"] == "0":
            self._update(*marked)
            self._run("scancel", job.id)
            return
        # Requeue=1 defeats --no-requeue. The hold is there before the requeue, or the job could be dispatched at once.
        self._update(*marked, "Priority=0", "Requeue=1")
        waiting = [number for number in (placeholder, self._nudges.get(placeholder, "")) if number]
        after: List[Sequence[str]] = [("release", number) for number in waiting]
        if job.state is LrmsJobState.RUNNING:
            after.append(("requeue", job.id))
        if after:
            self._scontrol(*after)

    def requeue(self, job: LrmsJob, mark: str) -> bool:
        if job.fixed["BatchFlag"] == "0" or job.fixed["Requeue"] == "0":
            return False
        self.stop(job, mark)
        return True

    def send(self, job: LrmsJob, host: str, original: Dict[str, str]) -> Tuple[str, ...]:
        if job.fixed["Features"] != original["Features"]:
            return ("Features",)
        values = {"Partition": self._config.vm_partition, "ReqNodeList": host, "ReservationName": _reservation(host)}
        # without its old value TimeLimit would become the partition's
        values = {**values, "TimeLimit": original["TimeLimit"], "Requeue": original["Requeue"], "StartTime": "now"}
        pairs = [f"{key}={value}" for key, value in values.items()]
        self._scontrol(
            ("update", f"ReservationName={_reservation(host)}", f"Users={job.user}"),
            ("update", f"JobId={job.id}", *pairs),
        )
        self._release(job.id)
        return ()

    def give_back(self, job_id: str, original: Dict[str, str], mark: str, after_s: float, avoid_node: bool) -> None:
        avoid = [f"ExcNodeList={self._also_excluded(job_id)}"] if avoid_node else []
        self._unpin(job_id, original, mark, after_s, *avoid)
        self._release(job_id)

    def _also_excluded(self, job_id: str) -> str:
        excluded = self._run("squeue", "-h", "-a", "-j", job_id, "-o", "%x").strip()
        return ",".join(item for item in (excluded, self._config.node) if item and item != "(null)")

    def _release(self, job_id: str) -> None:
        self._run("scontrol", "release", job_id)

    def keep_held(self, job_id: str, original: Dict[str, str], mark: str) -> None:
        self._unpin(job_id, original, mark, 0)

    def _unpin(self, job_id: str, original: Dict[str, str], mark: str, after_s: float, *more: str) -> None:
        job = self.job(job_id)
        if job is None:
            raise NotFoundError(object=f"job {job_id}", reason="is not known to Slurm")
        wanted = {key: original[key] for key in ("Partition", "ReqNodeList", "ReservationName", "TimeLimit")}
        wanted["Requeue"] = original["Requeue"]
        wanted["StartTime"] = f"now+{int(after_s)}" if after_s >= 1 else "now"
        # in the same call: after it, another bait may own the job and its mark
        wanted["AdminComment"] = mark
        pairs = [f"{key}={value}" for key, value in wanted.items() if job.fixed.get(key) != value]
        self._update(f"JobId={job_id}", *pairs, *more)

    def adopt(self, known: Container[str]) -> Tuple[str, ...]:
        freed = []
        marks = os.listdir(self._config.adopt_dir) if os.path.isdir(self._config.adopt_dir) else []
        for job_id in marks:
            job = self.job(job_id)
            if job is not None and job.state is LrmsJobState.COMPLETING:
                continue
            if job is not None and job.state is LrmsJobState.HELD and job_id not in known:
                self._update(f"JobId={job_id}", "StartTime=now")
                self._release(job_id)
                freed.append(job_id)
            os.unlink(os.path.join(self._config.adopt_dir, job_id))
        return tuple(freed)

    # the node's books

    def place(self, key: str, resources: Resources, waiting: bool = False) -> str:
        partition = self._config.placeholder_partition
        existing = self._number(PLACEHOLDER + key, partition)
        if existing:
            return existing
        if not waiting:
            return self._submit(PLACEHOLDER + key, partition, _PLACEHOLDER, *_share(resources))
        nudge = self._submit(NUDGE + key, partition, _NUDGE, "--mem=1M", "--time=1", "--hold")
        number = self._submit(PLACEHOLDER + key, partition, _PLACEHOLDER, *_share(resources), "--hold")
        self._nudges[number] = nudge
        return number

    def offer(self, key: str, resources: Resources) -> str:
        name, partition = PLACEHOLDER + key, self._config.offer_partition
        return self._number(name, partition) or self._submit(name, partition, _PLACEHOLDER, *_share(resources))

    def keep(self, key: str, resources: Resources) -> str:
        name, config = PLACEHOLDER + key, self._config
        kept = self._number(name, config.placeholder_partition)
        offered = self._number(name, config.offer_partition)
        # The first goes before the second comes: else the second would end the offer of yet another VM where room is
        # scarce. Nobody comes between: the second is the first in line.
        if offered:
            self._run("scancel", offered)
        return kept or self._submit(name, config.placeholder_partition, _PLACEHOLDER, *_share(resources))

    def _number(self, name: str, partition: str) -> str:
        return next((number for known, where, number in self._ours() if (known, where) == (name, partition)), "")

    def _submit(self, name: str, partition: str, script: str, *options: str, node: str = "") -> str:
        common = (
            "--parsable",
            "--export=NONE",
            "--no-requeue",
            f"--job-name={name}",
            f"--partition={partition}",
            f"--nodelist={node or self._config.node}",
            "--nodes=1",
            "--ntasks=1",
            "--chdir=/",
            "--output=/dev/null",
            "--error=/dev/null",
        )
        return self._run("sbatch", *common, *options, input=script).strip().split(";")[0]

    def unplace(self, key: str) -> None:
        numbers = [number for name, _where, number in self._ours() if name in (PLACEHOLDER + key, NUDGE + key)]
        if numbers:
            self._run("scancel", *numbers)

    def placeholders(self) -> Dict[str, str]:
        ours = {name: number for name, _where, number in self._ours()}
        found = {name[len(PLACEHOLDER) :]: number for name, number in ours.items() if name.startswith(PLACEHOLDER)}
        nudges = {number: ours.get(NUDGE + key, "") for key, number in found.items()}
        self._nudges = {number: nudge for number, nudge in nudges.items() if nudge}
        return found

    def _ours(self) -> List[Tuple[str, str, str]]:
        """Return name, partition and id of our own jobs for this node."""
        config = self._config
        query = ("squeue", "-h", "-a", "-u", "root", "-t", "PENDING,CONFIGURING,RUNNING", "-o", "%i %j %n %P")
        output = self._run(*query, "-p", f"{config.placeholder_partition},{config.offer_partition}")
        rows = (line.split() for line in output.splitlines())
        return [(row[1], row[3], row[0]) for row in rows if len(row) == 4 and row[2] == config.node]

    # VMs as hosts

    def guest_setup(self, host: WorkerNode) -> GuestSetup:
        settings = {
            "CPUs": str(host.resources.cpus),
            "RealMemory": str(host.resources.memory_mib),
            "TmpDisk": str(host.resources.scratch_mib),
            "Feature": ",".join(
                (OFFERED_FEATURE if host.offered else VM_FEATURE, TAG_PREFIX + host.tag, KEY + host.key)
            ),
            "NodeAddr": host.address,
            **({"Weight": str(OFFERED_WEIGHT)} if host.offered else {}),
        }
        conf = " ".join(f"{key}={value}" for key, value in settings.items())
        options = f"-Z -N {host.name} --conf-server {self._conf_server()} --conf '{conf}'"
        files = [GuestFile("/etc/default/slurmd", f'SLURMD_OPTIONS="{options}"\n', in_place=True)]
        if self._config.munge_key:
            with open(self._config.munge_key, "rb") as key:
                content = key.read().decode("latin-1")
            owner = {"owner": "munge", "group": "munge"}
            files.append(GuestFile(MUNGE_KEY, content, 0o600, **owner, in_place=True, encoding="latin-1"))
        return GuestSetup(tuple(files), (("systemctl", "restart", "munge.service", "slurmd.service"),))

    def account(self, user: str) -> Tuple[GuestFile, ...]:
        return account_files([pwd.getpwnam(user)]) if self._config.guest_accounts else ()

    def accounts(self) -> Tuple[GuestFile, ...]:
        if not self._config.guest_accounts:
            return ()
        users = [user for user in pwd.getpwall() if user.pw_uid >= FIRST_UID and user.pw_name != "nobody"]
        if len(users) > MAX_ACCOUNTS:
            log.warning("VMs are told of the first %d of this node's %d users", MAX_ACCOUNTS, len(users))
        return account_files(users[:MAX_ACCOUNTS])

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
        users = (f"ReservationName={_reservation(name)}", "Users=root")
        try:
            self._update(*users)
        except NotFoundError:
            options = [f"Nodes={name}", "StartTime=now", "Duration=infinite", "Flags=IGNORE_JOBS"]
            self._run("scontrol", "create", "reservation", *users, *options)
        # It registers open: its partition takes no job without a reservation, and opening it later costs seconds.
        if self.host(name) is HostState.CLOSED:
            self._update(f"NodeName={name}", "State=RESUME")

    def rehearsed(self, key: str, host: str) -> bool:
        name, partition = REHEARSAL + key, self._config.vm_partition
        query = ("squeue", "-h", "-a", "-u", "root", "-t", "all", "-p", partition, "-n", name, "-o", "%T")
        states = self._run(*query).split()
        if not states and name not in self._rehearsals:
            self._submit(name, partition, _REHEARSAL, "--time=1", f"--reservation={_reservation(host)}", node=host)
            self._rehearsals.add(name)
            return False
        if set(states) <= {"COMPLETED"}:  # Slurm forgets what is over
            self._rehearsals.discard(name)
            return True
        if set(states) & {"FAILED", "NODE_FAIL", "TIMEOUT", "CANCELLED", "BOOT_FAIL", "OUT_OF_MEMORY"}:
            raise LrmsError(object=f"host {host}", value=states[0], reason="could not run a job that does nothing")
        return False

    def close_host(self, name: str) -> None:
        try:
            self._update(f"NodeName={name}", "State=DRAIN", f"Reason={REASON}one job only")
        except NotFoundError:
            return

    def fail_host(self, name: str, reason: str) -> None:
        try:
            self._update(f"NodeName={name}", "State=DOWN", f"Reason={REASON}{reason}"[:200])
        except NotFoundError:
            return

    def remove_host(self, name: str, key: str = "") -> None:
        if key:
            try:
                if KEY + key not in text.features(self._node(name)):
                    return
            except NotFoundError:
                return
        self._run("scancel", "-u", "root", f"--reservation={_reservation(name)}")
        for what in (f"ReservationName={_reservation(name)}", f"NodeName={name}"):
            try:
                self._run("scontrol", "delete", what)
            except NotFoundError:
                continue

    # the node

    def advertised(self) -> Tuple[str, ...]:
        present = text.features(self._this_node())
        return tuple(item[len(TAG_PREFIX) :] for item in present if item.startswith(TAG_PREFIX))

    def inquiries(self) -> Dict[str, Tuple[str, ...]]:
        return text.inquiries(self._config.node)

    def advertise(self, tags: Optional[Tuple[str, ...]], problem: str) -> bool:
        node = f"NodeName={self._config.node}"
        shown = self._this_node()
        values = text.fields(shown)
        present = text.features(shown)
        wanted = [item for item in present if not item.startswith(TAG_PREFIX)]
        wanted += [TAG_PREFIX + tag for tag in sorted(tags or ())]
        changed = False
        active = [item for item in values.get("ActiveFeatures", "").split(",") if item]
        if tags is not None and not sorted(present) == sorted(active) == sorted(wanted):
            features = ",".join(wanted)
            self._update(node, f"AvailableFeatures={features}", f"ActiveFeatures={features}")
            changed = True
        said, reason = text.node_reason(shown), " ".join(f"{REASON}{problem}".split())[:190].strip()
        drained, ours = "DRAIN" in values.get("State", ""), said.startswith(REASON)
        if problem and (not drained or (ours and said != reason)):
            self._update(node, "State=DRAIN", f"Reason={reason}")
            changed = True
        elif not problem and drained and ours:
            self._update(node, "State=RESUME")
            changed = True
        return changed


def _reservation(host: str) -> str:
    return f"wn_{host}"


def _share(resources: Resources) -> Tuple[str, ...]:
    return (f"--cpus-per-task={resources.cpus}", f"--mem={resources.memory_mib}M", "--time=UNLIMITED")
