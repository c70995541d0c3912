# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm's books of this node: jobs of root's that hold what virtual machines use.

A placeholder has the shape of the job whose VM it is for: the same time limit, the same reservation. One without a
limit would never start on a node that is reserved for some day to come.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Tuple

from ..model.errors import RequestError
from ..model.resources import Resources
from . import slurm_text as text
from .base import LrmsJob
from .slurm_commands import Commands, SlurmConfig

PLACEHOLDER, NUDGE = "wnodes-", "wnnudge-"
#: what a VM needs before and after its job, in minutes
MARGIN_MIN = 15
_PLACEHOLDER = "#!/bin/sh\n# keeps the share of a virtual machine off this node's books\nexec sleep infinity\n"
_NUDGE = "#!/bin/sh\n# ends at once: at its end Slurm looks for work, otherwise once a second only\n"
UNLIMITED = "UNLIMITED"


class Books:
    """The placeholders of this node. All of it may be repeated."""

    def __init__(self, config: SlurmConfig, commands: Commands) -> None:
        self._config, self._commands = config, commands
        #: placeholder that waits → the job that nudges the scheduler after it
        self._nudges: Dict[str, str] = {}

    def place(self, key: str, resources: Resources, job: Optional[LrmsJob]) -> str:
        """See ``Lrms.place``."""
        partition = self._config.placeholder_partition
        existing = self._number(PLACEHOLDER + key, partition)
        if existing:
            return existing
        if job is not None:
            return self._submit(PLACEHOLDER + key, partition, _PLACEHOLDER, *_share(resources), *self._like(job))
        nudge = self._submit(NUDGE + key, partition, _NUDGE, "--mem=1M", "--time=1", "--hold")
        share = (*_share(resources), f"--time={UNLIMITED}", "--hold")
        number = self._submit(PLACEHOLDER + key, partition, _PLACEHOLDER, *share)
        self._nudges[number] = nudge
        return number

    def offer(self, key: str, resources: Resources) -> str:
        """See ``Lrms.offer``."""
        name, partition = PLACEHOLDER + key, self._config.offer_partition
        known = self._number(name, partition)
        return known or self._submit(name, partition, _PLACEHOLDER, *_share(resources), f"--time={UNLIMITED}")

    def keep(self, key: str, resources: Resources, job: LrmsJob) -> str:
        """See ``Lrms.keep``."""
        name, config = PLACEHOLDER + key, self._config
        kept = self._number(name, config.placeholder_partition)
        offered = self._number(name, config.offer_partition)
        # The first goes before the second comes: else the second would end the offer of yet another VM where room is
        # scarce. Nobody comes between: the second is the first in line.
        if offered:
            self._commands.run("scancel", offered)
        share = (*_share(resources), *self._like(job))
        return kept or self._submit(name, config.placeholder_partition, _PLACEHOLDER, *share)

    def taken_by(self, job: LrmsJob, placeholder: str) -> List[Sequence[str]]:
        """Return the commands that let a placeholder that waits take its share, in the shape of ``job``."""
        shape = [f"TimeLimit={_time(job)}"]
        reservation = self._reservation(job)
        if reservation:
            shape.append(f"ReservationName={reservation}")
        waiting = [number for number in (placeholder, self._nudges.get(placeholder, "")) if number]
        return [("update", f"JobId={placeholder}", *shape), *(("release", number) for number in waiting)]

    def remove(self, key: str) -> None:
        """See ``Lrms.unplace``."""
        numbers = [number for name, _where, number in self._ours() if name in (PLACEHOLDER + key, NUDGE + key)]
        if numbers:
            self._commands.run("scancel", *numbers)

    def all(self) -> Dict[str, str]:
        """See ``Lrms.placeholders``."""
        ours = {name: number for name, _where, number in self._ours()}
        found = {name[len(PLACEHOLDER) :]: number for name, number in ours.items() if name.startswith(PLACEHOLDER)}
        nudges = {number: ours.get(NUDGE + key, "") for key, number in found.items()}
        self._nudges = {number: nudge for number, nudge in nudges.items() if nudge}
        return found

    def _like(self, job: LrmsJob) -> Tuple[str, ...]:
        reservation = self._reservation(job)
        return (f"--time={_time(job)}", *([f"--reservation={reservation}"] if reservation else []))

    def _reservation(self, job: LrmsJob) -> str:
        """Return the reservation in which the job runs, open to root's jobs; empty: none.

        :raises RequestError: it can't be opened to root without closing it to others
        """
        name = job.fixed.get("ReservationName", "")
        if not name:
            return ""
        shown = text.fields(self._commands.run("scontrol", "show", "-o", "reservation", name))
        users = shown.get("Users", "").split(",")
        if "root" in users:
            return name
        if not any(users):
            raise RequestError(
                object=f"reservation {name}",
                reason="is for accounts or groups only, and a VM needs a job of root's in it",
                hint="ask an administrator to name users in it, root among them",
            )
        self._commands.update(f"ReservationName={name}", "Users+=root")
        return name

    def _number(self, name: str, partition: str) -> str:
        return next((number for known, where, number in self._ours() if (known, where) == (name, partition)), "")

    def _submit(self, name: str, partition: str, script: str, *options: str) -> str:
        return self._commands.submit(name, partition, self._config.node, script, *options)

    def _ours(self) -> List[Tuple[str, str, str]]:
        """Return name, partition and id of our own jobs for this node."""
        config = self._config
        query = ("squeue", "-h", "-a", "-u", "root", "-t", "PENDING,CONFIGURING,RUNNING", "-o", "%i %j %n %P")
        output = self._commands.run(*query, "-p", f"{config.placeholder_partition},{config.offer_partition}")
        rows = (line.split() for line in output.splitlines())
        return [(row[1], row[3], row[0]) for row in rows if len(row) == 4 and row[2] == config.node]


def _share(resources: Resources) -> Tuple[str, ...]:
    return (f"--cpus-per-task={resources.cpus}", f"--mem={resources.memory_mib}M")


def _time(job: LrmsJob) -> str:
    limit = text.minutes(job.fixed.get("TimeLimit", ""))
    return UNLIMITED if limit is None else str(limit + MARGIN_MIN)
