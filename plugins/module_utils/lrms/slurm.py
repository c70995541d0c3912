# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm 22.05 and later, through its own commands.

Seen on 22.05.8 and 24.11.5: a prolog that does not answer blocks its job, so everything here happens before the hook's
answer or long after it; ``requeue`` alone would let the owner free the job, so the hold is an administrator's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import re
import time
from typing import Container, Dict, Iterable, List, Optional, Set, Tuple

from ..model.errors import LrmsError, LrmsRefused, NotFoundError
from ..model.hostlist import expand
from ..model.job import Dispatch, Hold
from ..model.mark import is_under_way
from ..model.resources import Resources
from ..model.vm import GuestFile, GuestSetup
from ..process import run
from . import slurm_constraint
from . import slurm_text as text
from .accounts import account_files
from .base import (
    AVOIDED,
    DefaultImage,
    HostState,
    Lrms,
    LrmsJob,
    LrmsJobState,
    NodeRoom,
    Wish,
    WorkerNode,
    no_image,
)
from .slurm_books import Books
from .slurm_commands import Commands, Runner, SlurmConfig
from .slurm_constraint import TAG_PREFIX

log = logging.getLogger(__name__)

VM_FEATURE, OFFERED_FEATURE = "wnvm", "wndirect"
#: an offered VM is chosen before the nodes, whose weight is higher
OFFERED_WEIGHT = 1
#: users that a VM is told of at the most
MAX_ACCOUNTS = 5000
FIRST_UID = 1000
#: where a VM has the key
MUNGE_KEY = "/etc/munge/munge.key"
#: what the task prolog in a VM reads
TASK_ENVIRONMENT = "/run/wnodes-job-environment"
#: a feature of each VM's node: which VM it is, for its name will be another one's
KEY = "wnid_"
REASON = "wnodes: "
REHEARSAL = "wnrehearsal-"
_REHEARSAL = "#!/bin/sh\n# what a host's first job takes longer for is done by this one\n"
#: Slurm's daemons forget what has run out a little later than it has, in seconds
QUARANTINE_MARGIN_S = 5.0
#: how long what Slurm's configuration says is believed, in seconds
_CONFIG_S = 600.0
_OVER = (LrmsJobState.ENDED, LrmsJobState.CANCELLED)


class Slurm(Lrms):
    """See ``Lrms``.

    :param runner: replaces ``process.run`` in tests
    """

    def __init__(self, config: SlurmConfig, runner: Runner = run) -> None:
        self._config, self._commands = config, Commands(config, runner)
        self._books = Books(config, self._commands)
        self._run, self._update = self._commands.run, self._commands.update
        self._rehearsals: Set[str] = set()
        self._settings: Tuple[float, str] = (0.0, "")

    # reading

    def wish(self, dispatch: Dispatch, default: DefaultImage = no_image) -> Optional[Wish]:
        environment = dispatch.environment
        user, partition = (environment.get(f"SLURM_JOB_{key}", "") for key in ("USER", "PARTITION"))
        if partition in self._config.own_partitions:
            return None
        constraint, comment = (environment.get(f"SLURM_JOB_{key}", "") for key in ("CONSTRAINTS", "COMMENT"))
        named = slurm_constraint.tags(constraint)
        if not named:
            tag = default(user, partition)
            return Wish(tag, text.options(comment)) if tag else None
        if constraint != TAG_PREFIX + named[0]:
            named = slurm_constraint.images(constraint, self._node_features())
        return Wish(named[0], text.options(comment), named[1:])

    def _node_features(self) -> List[str]:
        """Return what this node offers besides images: a VM on it offers that as well."""
        return [item for item in text.features(self._this_node()) if not item.startswith(TAG_PREFIX)]

    def placeholder_key(self, dispatch: Dispatch) -> str:
        if dispatch.environment.get("SLURM_JOB_PARTITION") not in self._config.own_partitions:
            return ""
        for key, number in self._books.all().items():
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
        return max(self._serving(tag).values(), default=0)

    def others_serve(self, tag: str) -> bool:
        return bool(set(self._serving(tag)) - {self._config.node})

    def _serving(self, tag: str) -> Dict[str, int]:
        """Return the memory (MiB) of the physical nodes that serve ``tag``, by name."""
        nodes = text.nodes(self._run("sinfo", "-h", "-a", "-N", "-O", text.NODES_FORMAT))
        of_vms = {VM_FEATURE, OFFERED_FEATURE}
        return {name: size for name, (size, has) in nodes.items() if TAG_PREFIX + tag in has and not of_vms & set(has)}

    def present(self) -> Dict[str, str]:
        folder = text.spool_dir(self._slurm_config(), self._config.node)
        found = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(folder or "/nonexistent") as files:
            for file in files:
                number = text.step(file.name, self._config.node)
                if number:
                    with contextlib.suppress(FileNotFoundError):  # it has just ended
                        found[f"{file.name} {file.stat(follow_symlinks=False).st_ctime_ns}"] = number
        return found

    def quarantine_s(self) -> float:
        return text.cred_expire_s(self._slurm_config()) + QUARANTINE_MARGIN_S

    def _slurm_config(self) -> str:
        at, shown = self._settings
        if not shown or time.monotonic() - at > _CONFIG_S:
            shown = self._run("scontrol", "show", "config")
            self._settings = time.monotonic(), shown
        return shown

    def limit(self, job: LrmsJob) -> str:
        array, underscore, _task = job.id.partition("_")
        if not underscore:
            return ""
        most = text.throttle(self._run("scontrol", "show", "-o", "job", job.id))
        if not most:
            return ""
        others = [one for one in self.jobs([array]).values() if one.id != job.id and self._is_ahead(one, job)]
        return f"{len(others)} tasks of its array run, and %{most} may" if len(others) >= most else ""

    def _is_ahead(self, other: LrmsJob, job: LrmsJob) -> bool:
        """Return whether another task of an array runs, or is on its way to a VM and came first."""
        if other.state in (LrmsJobState.RUNNING, LrmsJobState.COMPLETING) and other.host != self._config.node:
            return True
        waits = other.state is LrmsJobState.HELD and other.hold is Hold.ADMINISTRATOR and is_under_way(other.mark)
        stopped = other.state in (LrmsJobState.RUNNING, LrmsJobState.COMPLETING) or waits
        return stopped and int(other.number or 0) < int(job.number or 0)

    def marked(self) -> Tuple[LrmsJob, ...]:
        output = self._run("squeue", "-h", "-a", "-r", "-t", "PENDING", "-O", text.SQUEUE_FORMAT)
        return tuple(job for job in text.jobs(output).values() if job.mark.startswith("wnodes:"))

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
        if job.state in _OVER:
            return
        if job.state is LrmsJobState.RUNNING and (job.fixed["BatchFlag"] == "0" or job.component):
            self.cancel(job, mark)
            return
        # Requeue=1 defeats --no-requeue. The hold is there before the requeue, or the job could be dispatched at once.
        self._update(f"JobId={job.id}", f"AdminComment={mark}", "Priority=0", "Requeue=1")
        after = self._books.taken_by(job, placeholder) if placeholder else []
        if job.state is LrmsJobState.RUNNING:
            after.append(("requeue", job.id))
        if after:
            self._commands.batch(*after)

    def requeue(self, job: LrmsJob, mark: str) -> bool:
        if job.fixed["BatchFlag"] == "0" or job.fixed["Requeue"] == "0" or job.component:
            return False
        self.stop(job, mark)
        return True

    def cancel(self, job: LrmsJob, mark: str) -> None:
        self._update(f"JobId={job.id}", f"AdminComment={mark}")
        self._run("scancel", job.id)

    def send(self, job: LrmsJob, host: str, original: Dict[str, str], mark: str) -> None:
        values = {
            "Partition": self._config.vm_partition,
            "ReqNodeList": host,
            "ReservationName": _reservation(host),
            # without it the partition's would be set
            "TimeLimit": job.fixed["TimeLimit"],
            "Requeue": original["Requeue"],
            "StartTime": "now",
            "AdminComment": mark,
        }
        pairs = [f"{key}={value}" for key, value in values.items()]
        self._commands.batch(
            ("update", f"ReservationName={_reservation(host)}", f"Users={job.user}"),
            ("update", f"JobId={job.id}", *pairs),
        )
        self._release(job)

    def give_back(
        self,
        job_id: str,
        original: Dict[str, str],
        mark: str,
        after_s: float = 0.0,
        avoid_node: bool = False,
        hold: Hold = Hold.NOBODY,
    ) -> None:
        job = self.job(job_id)
        if job is None:
            raise NotFoundError(object=f"job {job_id}", reason="is not known to Slurm")
        wanted = {key: original[key] for key in ("Partition", "ReqNodeList", "ReservationName") if key in original}
        # a change of the partition sets that partition's limit
        wanted["TimeLimit"] = job.fixed["TimeLimit"]
        changed = {key: value for key, value in wanted.items() if job.fixed.get(key) != value}
        if "Partition" in changed:
            changed["TimeLimit"] = wanted["TimeLimit"]
        changed["Requeue"] = original.get("Requeue", "1")
        changed["StartTime"] = f"now+{int(after_s + 0.999)}" if after_s > 0 else "now"
        if avoid_node or original.get(AVOIDED):
            changed["ExcNodeList"] = self._excluded(job_id, original.get(AVOIDED, ""), avoid_node)
        if hold is Hold.OWNER:
            self._run("scontrol", "uhold", job_id)
        # in the same call: after it, another bait may own the job and its mark
        self._change(job_id, {**changed, "AdminComment": mark})
        if hold is Hold.NOBODY:
            self._release(job)

    def _excluded(self, job_id: str, avoided: str, avoid_node: bool) -> str:
        """Return the nodes that the job's owner does not want, and this one."""
        shown = text.fields(self._run("scontrol", "show", "-o", "job", job_id)).get("ExcNodeList", "")
        nodes = [node for node in expand(shown) if node not in (avoided, self._config.node)]
        return ",".join([*nodes, self._config.node] if avoid_node else nodes)

    def _change(self, job_id: str, values: Dict[str, str]) -> None:
        """Set all values of a job; those that Slurm refuses are left as they are, where it takes the others."""
        try:
            self._update(f"JobId={job_id}", *(f"{key}={value}" for key, value in values.items()))
        except (LrmsRefused, NotFoundError) as error:
            if self.job(job_id) is None:
                raise
            log.warning("job %s does not get back all that it had: %s", job_id, error)
            *first, mark = values.items()
            for key, value in first:
                try:
                    self._update(f"JobId={job_id}", f"{key}={value}")
                except (LrmsRefused, NotFoundError) as refused:
                    log.warning("job %s: %s=%s: %s", job_id, key, value, refused)
                    if key == "ReservationName" and value:
                        self._update(f"JobId={job_id}", "ReservationName=")
            self._update(f"JobId={job_id}", "=".join(mark))

    def _release(self, job: LrmsJob) -> None:
        self._run("scontrol", "release", job.id)
        if job.fixed.get("Nice", "0") not in ("0", ""):  # a release takes it away
            self._update(f"JobId={job.id}", f"Nice={job.fixed['Nice']}")

    def adopt(self, known: Container[str]) -> Tuple[str, ...]:
        freed = []
        marks = os.listdir(self._config.adopt_dir) if os.path.isdir(self._config.adopt_dir) else []
        for job_id in marks:
            job = self.job(job_id)
            if job is not None and job.state is LrmsJobState.COMPLETING:
                continue
            if job is not None and job.state is LrmsJobState.HELD and job_id not in known:
                self._update(f"JobId={job_id}", f"StartTime=now+{int(self.quarantine_s())}")
                self._release(job)
                freed.append(job_id)
            os.unlink(os.path.join(self._config.adopt_dir, job_id))
        return tuple(freed)

    # the node's books

    def place(self, key: str, resources: Resources, job: Optional[LrmsJob] = None) -> str:
        return self._books.place(key, resources, job)

    def offer(self, key: str, resources: Resources) -> str:
        return self._books.offer(key, resources)

    def keep(self, key: str, resources: Resources, job: LrmsJob) -> str:
        return self._books.keep(key, resources, job)

    def unplace(self, key: str) -> None:
        self._books.remove(key)

    def placeholders(self) -> Dict[str, str]:
        return self._books.all()

    # VMs as hosts

    def guest_setup(self, host: WorkerNode) -> GuestSetup:
        settings = {
            "CPUs": str(host.resources.cpus),
            "RealMemory": str(host.resources.memory_mib),
            "TmpDisk": str(host.resources.scratch_mib),
            "Feature": ",".join(self._features(host)),
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

    def _features(self, host: WorkerNode) -> Tuple[str, ...]:
        """Return what the VM's node offers: what its physical node does, so that all that matched that matches it."""
        of_node = [item for item in self._node_features() if item not in (VM_FEATURE, OFFERED_FEATURE)]
        return OFFERED_FEATURE if host.offered else VM_FEATURE, TAG_PREFIX + host.tag, KEY + host.key, *of_node

    def environment(self, job: LrmsJob, restarts: int) -> Tuple[GuestFile, ...]:
        return (GuestFile(TASK_ENVIRONMENT, text.task_environment(job, restarts), 0o644),)

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
        shown = self._slurm_config()
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
            self._commands.submit(name, partition, host, _REHEARSAL, "--time=1", f"--reservation={_reservation(host)}")
            self._rehearsals.add(name)
            return False
        if set(states) <= {"COMPLETED"}:  # Slurm forgets what is over
            self._rehearsals.discard(name)
            return True
        if set(states) & {"FAILED", "NODE_FAIL", "TIMEOUT", "CANCELLED", "BOOT_FAIL", "OUT_OF_MEMORY"}:
            raise LrmsError(object=f"host {host}", value=states[0], reason="could not run a job that does nothing")
        return False

    def close_host(self, name: str) -> None:
        try:  # nobody but root gets in: its partition takes no job without its reservation
            self._update(f"ReservationName={_reservation(name)}", "Users=root")
        except NotFoundError:  # an offered one
            with contextlib.suppress(NotFoundError):
                self._update(f"NodeName={name}", "State=DRAIN", f"Reason={REASON}one job only")

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
        try:
            self._delete(name)
        except LrmsRefused:
            self._clear(name)
            self._delete(name)

    def _delete(self, name: str) -> None:
        for what in (f"ReservationName={_reservation(name)}", f"NodeName={name}"):
            with contextlib.suppress(NotFoundError):
                self._run("scontrol", "delete", what)

    def _clear(self, name: str) -> None:
        """Cancel what stands in the way of a host's end: our own jobs, and what users have sent there by themselves."""
        shown = self._run("squeue", "-h", "-a", "-r", "-R", _reservation(name), "-O", text.SQUEUE_FORMAT)
        for job in {**text.jobs(shown), **{job.id: job for job in self.jobs_on(name)}}.values():
            if is_under_way(job.mark):
                raise LrmsError(object=f"host {name}", value=f"job {job.id}", reason="is still on its way there")
            if job.state is not LrmsJobState.COMPLETING:
                log.warning("job %s of %s was sent to %s by itself and is cancelled", job.id, job.user, name)
                self._run("scancel", job.id)

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
        present, active = text.features(shown), [item for item in values.get("ActiveFeatures", "").split(",") if item]
        ours = [TAG_PREFIX + tag for tag in sorted(tags or ())]
        # what others have made available without activating it stays so
        available, live = (
            [item for item in some if not item.startswith(TAG_PREFIX)] + ours for some in (present, active)
        )
        changed = False
        if tags is not None and (sorted(present), sorted(active)) != (sorted(available), sorted(live)):
            self._update(node, f"AvailableFeatures={','.join(available)}", f"ActiveFeatures={','.join(live)}")
            changed = True
        said, reason = text.node_reason(shown), " ".join(f"{REASON}{problem}".split())[:190].strip()
        drained, by_us = "DRAIN" in values.get("State", ""), said.startswith(REASON)
        if problem and (not drained or (by_us and said != reason)):
            self._update(node, "State=DRAIN", f"Reason={reason}")
            changed = True
        elif not problem and drained and by_us:
            self._update(node, "State=RESUME")
            changed = True
        return changed


def _reservation(host: str) -> str:
    return f"wn_{host}"
