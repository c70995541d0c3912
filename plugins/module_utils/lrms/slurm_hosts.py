# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual machines as dynamic nodes of Slurm, each in a reservation of its own."""

from __future__ import annotations

import contextlib
import logging
from typing import Dict, Sequence, Set

from ..model.errors import LrmsError, LrmsRefused, NotFoundError
from ..model.mark import is_under_way
from ..model.vm import GuestFile, GuestSetup
from . import slurm_text as text
from .base import HostState, LrmsJob, LrmsJobState, WorkerNode
from .limits import limits_of
from .slurm_commands import Commands, SlurmConfig
from .slurm_constraint import TAG_PREFIX

log = logging.getLogger(__name__)

VM_FEATURE, OFFERED_FEATURE = "wnvm", "wndirect"
#: an offered VM is chosen before the nodes, whose weight is higher
OFFERED_WEIGHT = 1
#: where a VM has the key
MUNGE_KEY = "/etc/munge/munge.key"
#: a feature of each VM's node: which VM it is, for its name will be another one's
KEY = "wnid_"
#: what gives a moved job's tasks their environment, on the node and in its VMs
TASK_PROLOG = "/etc/slurm/wnodes-task-prolog"
REASON = "wnodes: "
REHEARSAL = "wnrehearsal-"
_REHEARSAL = "#!/bin/sh\n# what a host's first job takes longer for is done by this one\n"


def reservation(host: str) -> str:
    """Return the name of the reservation that protects a VM."""
    return f"wn_{host}"


class Hosts:
    """See the module. All of it may be repeated."""

    def __init__(self, config: SlurmConfig, commands: Commands) -> None:
        self._config, self._commands = config, commands
        self._run, self._update = commands.run, commands.update
        self._rehearsals: Set[str] = set()

    def guest_setup(self, host: WorkerNode, features: Sequence[str], conf_server: str) -> GuestSetup:
        """See ``Lrms.guest_setup``.

        :param features: what its physical node offers: all that matched that has to match it
        :param conf_server: where the guest gets its configuration
        """
        kind = OFFERED_FEATURE if host.offered else VM_FEATURE
        settings = {
            "CPUs": str(host.resources.cpus),
            "RealMemory": str(host.resources.memory_mib),
            "TmpDisk": str(host.resources.scratch_mib),
            "Feature": ",".join((kind, TAG_PREFIX + host.tag, KEY + host.key, *features)),
            "NodeAddr": host.address,
            **({"Weight": str(OFFERED_WEIGHT)} if host.offered else {}),
        }
        conf = " ".join(f"{key}={value}" for key, value in settings.items())
        options = f"-Z -N {host.name} --conf-server {conf_server} --conf '{conf}'"
        told = f'SLURMD_OPTIONS="{options}"\nSLURMD_LIMITS="{" ".join(limits_of("slurmd"))}"\n'
        files = [GuestFile("/etc/default/slurmd", told, in_place=True)]
        if self._config.munge_key:
            with open(self._config.munge_key, "rb") as key:
                content = key.read().decode("latin-1")
            owner = {"owner": "munge", "group": "munge"}
            files.append(GuestFile(MUNGE_KEY, content, 0o600, **owner, in_place=True, encoding="latin-1"))
        with contextlib.suppress(FileNotFoundError), open(TASK_PROLOG, encoding="utf-8") as program:
            # an image of others, or an older one, may not have it, and without it every task would fail
            files.append(GuestFile(TASK_PROLOG, program.read(), 0o755))
        return GuestSetup(tuple(files), (("systemctl", "restart", "munge.service", "slurmd.service"),))

    def _shown(self, name: str) -> str:
        return self._run("scontrol", "show", "-o", "node", name)

    def state(self, name: str) -> HostState:
        """See ``Lrms.host``."""
        try:
            shown = self._shown(name)
        except NotFoundError:
            return HostState.ABSENT
        return text.host_state(text.fields(shown).get("State", "UNKNOWN"))

    def open(self, name: str) -> None:
        """See ``Lrms.open_host``."""
        users = (f"ReservationName={reservation(name)}", "Users=root")
        try:
            self._update(*users)
        except NotFoundError:
            options = [f"Nodes={name}", "StartTime=now", "Duration=infinite", "Flags=IGNORE_JOBS"]
            self._run("scontrol", "create", "reservation", *users, *options)
        # It registers open: its partition takes no job without a reservation, and opening it later costs seconds.
        if self.state(name) is HostState.CLOSED:
            self._update(f"NodeName={name}", "State=RESUME")

    def rehearsed(self, key: str, host: str) -> bool:
        """See ``Lrms.rehearsed``."""
        name, partition = REHEARSAL + key, self._config.vm_partition
        query = ("squeue", "-h", "-a", "-u", "root", "-t", "all", "-p", partition, "-n", name, "-o", "%T")
        states = self._run(*query).split()
        if not states and name not in self._rehearsals:
            self._commands.submit(name, partition, host, _REHEARSAL, "--time=1", f"--reservation={reservation(host)}")
            self._rehearsals.add(name)
            return False
        if set(states) <= {"COMPLETED"}:  # Slurm forgets what is over
            self._rehearsals.discard(name)
            return True
        if set(states) & {"FAILED", "NODE_FAIL", "TIMEOUT", "CANCELLED", "BOOT_FAIL", "OUT_OF_MEMORY"}:
            raise LrmsError(object=f"host {host}", value=states[0], reason="could not run a job that does nothing")
        return False

    def close(self, name: str) -> None:
        """See ``Lrms.close_host``."""
        try:  # nobody but root gets in: its partition takes no job without its reservation
            self._update(f"ReservationName={reservation(name)}", "Users=root")
        except (NotFoundError, LrmsRefused):
            # an offered one; or Slurm is 24.05 or later, which takes nobody out whose job is there
            with contextlib.suppress(NotFoundError):
                self._update(f"NodeName={name}", "State=DRAIN", f"Reason={REASON}one job only")

    def fail(self, name: str, reason: str) -> None:
        """See ``Lrms.fail_host``."""
        try:
            self._update(f"NodeName={name}", "State=DOWN", f"Reason={REASON}{reason}"[:200])
        except NotFoundError:
            return

    def remove(self, name: str, key: str = "") -> None:
        """See ``Lrms.remove_host``."""
        if key:
            try:
                if KEY + key not in text.features(self._shown(name)):
                    return
            except NotFoundError:
                return
        try:
            self._delete(name)
        except LrmsRefused:
            self._clear(name)
            self._delete(name)

    def _delete(self, name: str) -> None:
        for what in (f"ReservationName={reservation(name)}", f"NodeName={name}"):
            with contextlib.suppress(NotFoundError):
                self._run("scontrol", "delete", what)

    def _clear(self, name: str) -> None:
        """Cancel what stands in the way of a host's end: our own jobs, and what users have sent there by themselves."""
        shown = self._run("squeue", "-h", "-a", "-r", "-R", reservation(name), "-O", text.SQUEUE_FORMAT)
        for job in {**text.jobs(shown), **self._jobs_on(name)}.values():
            if is_under_way(job.mark):
                raise LrmsError(object=f"host {name}", value=f"job {job.id}", reason="is still on its way there")
            if job.state is not LrmsJobState.COMPLETING:
                log.warning("job %s of %s was sent to %s by itself and is cancelled", job.id, job.user, name)
                self._run("scancel", job.id)

    def _jobs_on(self, name: str) -> Dict[str, LrmsJob]:
        with contextlib.suppress(NotFoundError):
            return text.jobs(self._run("squeue", "-h", "-a", "-r", "-w", name, "-O", text.SQUEUE_FORMAT))
        return {}
