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
import time
from typing import Container, Dict, Iterable, List, Optional, Tuple

from ..model.errors import LrmsError, LrmsRefused, NotFoundError
from ..model.hostlist import expand
from ..model.job import Dispatch, Hold
from ..model.mark import Mark
from ..model.resources import Resources
from ..model.vm import GuestFile, GuestSetup
from ..process import run
from . import slurm_constraint
from . import slurm_text as text
from .accounts import Accounts
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
from .slurm_daemon import Daemon
from .slurm_hosts import OFFERED_FEATURE, REASON, VM_FEATURE, Hosts, reservation
from .slurm_words import PROLOG_ERROR, words

log = logging.getLogger(__name__)

#: what the task prolog in a VM reads
TASK_ENVIRONMENT = "/run/wnodes-job-environment"
#: for whoever waits at a job's terminal; the hook has the same words
NO_TERMINAL = "a job with a terminal can't go to a VM: submit it with sbatch"
#: Slurm's daemons forget what has run out a little later than it has, in seconds
QUARANTINE_MARGIN_S = 5.0
#: how long what Slurm's configuration says is believed, in seconds
_CONFIG_S = 600.0
#: what a site may have taken away meanwhile
_PLACES = ("Partition", "ReqNodeList", "ReservationName", "TimeLimit", "ExcNodeList")
_OVER = (LrmsJobState.ENDED, LrmsJobState.CANCELLED)
_STARTED = (LrmsJobState.RUNNING, LrmsJobState.COMPLETING)


class Slurm(Lrms):
    """See ``Lrms``.

    :param runner: replaces ``process.run`` in tests
    """

    def __init__(self, config: SlurmConfig, runner: Runner = run) -> None:
        self._config, self._commands = config, Commands(config, runner)
        self._books = Books(config, self._commands)
        self._run, self._update = self._commands.run, self._commands.update
        self._hosts = Hosts(config, self._commands)
        self._accounts = Accounts()
        self._daemon = Daemon(lambda: text.spool_dir(self._slurm_config(), config.node), config.node)
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
        return self._daemon.present()

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
        """Return whether another task of an array has a VM or will have one, or waits for one and comes first."""
        mark = Mark.parse(other.mark)
        under_way = mark is not None and bool(mark.undo)
        waits = mark is not None and mark.waits
        if other.state in _STARTED:
            # on a node of ours it is about to be stopped
            has_vm = other.fixed["Partition"] == self._config.vm_partition or (under_way and not waits)
        else:
            ours = other.state is LrmsJobState.HELD and other.hold is Hold.ADMINISTRATOR
            tied = other.state is LrmsJobState.PENDING
            if not under_way or not (ours or tied):
                return False
            has_vm = not waits
        return has_vm or _task(other) < _task(job)

    def marked(self) -> Tuple[LrmsJob, ...]:
        output = self._run("squeue", "-h", "-a", "-r", "-t", "PENDING", "-O", text.SQUEUE_FORMAT)
        return tuple(job for job in text.jobs(output).values() if job.mark.startswith("wnodes:"))

    def room(self) -> NodeRoom:
        shown = self._this_node()
        return text.room(shown, text.node_reason(shown).startswith(REASON))

    def _this_node(self) -> str:
        try:
            return self._run("scontrol", "show", "-o", "node", self._config.node)
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
        if job.state is LrmsJobState.RUNNING and (job.fixed["BatchFlag"] == "0" or job.whole):
            self.cancel(job, mark)
            return
        # Requeue=1 defeats --no-requeue. The hold is there before the requeue, or the job could be dispatched at once.
        self._update(f"JobId={job.id}", f"AdminComment={mark}", "Priority=0", "Requeue=1")
        after = self._books.taken_by(job, placeholder) if placeholder else []
        if job.state is LrmsJobState.RUNNING:
            after.append(("requeue", job.id))
        begun = time.time()
        if after:
            self._commands.batch(*after)
        if job.state is not LrmsJobState.RUNNING or job.host != self._config.node:
            return
        # else the prolog could end first, and slurmd would start the job here
        if self._daemon.await_revoked(job.number, begun) is False:
            log.warning("slurmd has not heard of the requeue of job %s for a while", job.id)

    def requeue(self, job: LrmsJob, mark: str) -> bool:
        if job.fixed["BatchFlag"] == "0" or job.fixed["Requeue"] == "0" or job.whole:
            return False
        self.stop(job, mark)
        return True

    def cancel(self, job: LrmsJob, mark: str) -> None:
        self._update(f"JobId={job.id}", f"AdminComment={mark}")
        if job.fixed["BatchFlag"] == "0":
            with contextlib.suppress(LrmsError, NotFoundError):  # nobody need be there to read it
                self._run("scontrol", "notify", job.id, NO_TERMINAL)
        self._run("scancel", job.whole or job.id)

    def send(self, job: LrmsJob, host: str, original: Dict[str, str], mark: str) -> None:
        values = {
            "Partition": self._config.vm_partition,
            "ReqNodeList": host,
            "ReservationName": reservation(host),
            # without it the partition's would be set
            "TimeLimit": job.fixed["TimeLimit"],
            "Requeue": original["Requeue"],
            "StartTime": "now",
            "AdminComment": mark,
        }
        pairs = [f"{key}={value}" for key, value in values.items()]
        self._commands.batch(
            ("update", f"ReservationName={reservation(host)}", f"Users={job.user}"),
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
        """Set all values of a job. What ties it to a place is left out where Slurm refuses it but takes the rest."""
        try:
            self._update(f"JobId={job_id}", *(f"{key}={value}" for key, value in values.items()))
        except (LrmsRefused, NotFoundError) as error:
            places = {key: value for key, value in values.items() if key in _PLACES}
            job = self.job(job_id)
            if not places or job is None or job.state not in (LrmsJobState.PENDING, LrmsJobState.HELD):
                raise  # it has started meanwhile, and its mark must stay
            log.warning("job %s does not get back all that it had: %s", job_id, error)
            for key, value in places.items():
                try:
                    self._update(f"JobId={job_id}", f"{key}={value}")
                except (LrmsRefused, NotFoundError) as refused:
                    log.warning("job %s: %s=%s: %s", job_id, key, value, refused)
                    if key == "ReservationName" and value:
                        self._update(f"JobId={job_id}", "ReservationName=")
            rest = (f"{key}={value}" for key, value in values.items() if key not in places)
            self._update(f"JobId={job_id}", *rest)

    def _release(self, job: LrmsJob) -> None:
        self._run("scontrol", "release", job.id)
        if job.fixed.get("Nice", "0") not in ("0", ""):  # a release takes it away
            self._update(f"JobId={job.id}", f"Nice={job.fixed['Nice']}")

    def adopt(self, known: Container[str]) -> Tuple[str, ...]:
        freed = []
        for word in words(self._config.adopt_dir):
            wait_s = self.quarantine_s() - word.age_s
            if word.failed:
                self._reopen()
                if wait_s > 0:  # Slurm puts the job back first and drains the node then
                    continue
            job = self.job(word.job)
            if job is not None:
                if job.state in _STARTED and self._config.node in expand(job.host):
                    continue  # it is about to leave
                try:
                    if job.id not in known and word.job not in known and self._free(job, word.requeue, wait_s):
                        freed.append(job.id)
                except (LrmsRefused, NotFoundError) as error:
                    log.warning("job %s, which the hook has put back: %s", job.id, error)
                    continue
            word.forget()
        return tuple(freed)

    def _reopen(self) -> None:
        """Undo what Slurm does to the node of a prolog that failed."""
        shown = self._this_node()
        if "DRAIN" in text.fields(shown).get("State", "") and text.node_reason(shown) == PROLOG_ERROR:
            log.warning("the node was drained because the hook could not put a job back; it is open again")
            self._update(f"NodeName={self._config.node}", "State=RESUME")

    def _free(self, job: LrmsJob, requeue: str, wait_s: float) -> bool:
        """Give a job that the hook has put back its own ``Requeue`` again; return whether it was held, and is freed."""
        held = job.state is LrmsJobState.HELD and job.hold is Hold.ADMINISTRATOR
        values = {}
        if requeue and job.state not in _OVER and job.fixed["Requeue"] != requeue:
            values["Requeue"] = requeue
        if held:
            values["StartTime"] = f"now+{int(wait_s + 0.999)}" if wait_s > 0 else "now"
        if values:
            self._update(f"JobId={job.id}", *(f"{key}={value}" for key, value in values.items()))
        if held:
            self._release(job)
        return held

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
        of_node = [item for item in self._node_features() if item not in (VM_FEATURE, OFFERED_FEATURE)]
        return self._hosts.guest_setup(host, of_node, text.conf_server(self._slurm_config()))

    def environment(self, job: LrmsJob, restarts: int) -> Tuple[GuestFile, ...]:
        return (GuestFile(TASK_ENVIRONMENT, text.task_environment(job, restarts), 0o644, in_place=True),)

    def accounts(self, user: str = "") -> Tuple[GuestFile, ...]:
        return self._accounts.files(user) if self._config.guest_accounts else ()

    def host(self, name: str) -> HostState:
        return self._hosts.state(name)

    def open_host(self, name: str) -> None:
        self._hosts.open(name)

    def rehearsed(self, key: str, host: str) -> bool:
        return self._hosts.rehearsed(key, host)

    def close_host(self, name: str) -> None:
        self._hosts.close(name)

    def fail_host(self, name: str, reason: str) -> None:
        self._hosts.fail(name, reason)

    def remove_host(self, name: str, key: str = "") -> None:
        self._hosts.remove(name, key)

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


def _task(job: LrmsJob) -> int:
    task = job.id.rpartition("_")[2]
    return int(task) if task.isdigit() else 0
