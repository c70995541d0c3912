# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running Slurm's commands: what we are allowed to conclude from one that failed.

"There is no such thing" is an answer of slurmctld's; it stands alone at the end of a line. Everything else that a
command may say means that nothing is known, or that slurmctld has refused.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Callable, List, Optional, Sequence, Tuple

from ..model.errors import CommandFailed, ConfigError, LrmsError, LrmsRefused, NotFoundError
from ..process import Completed
from . import slurm_text as text

#: recorded on 22.05.8 and 24.11.5, see tests/unit/plugins/module_utils/lrms/recorded
_ABSENT = re.compile(
    r"(?:^|: )(?:Invalid job id specified(?: for job \S+)?|Invalid node name(?: specified| \S+)"
    r"|(?:Job|Node|Reservation) \S+ not found|Requested reservation is invalid)$",
    re.MULTILINE,
)
_TROUBLE = re.compile(
    r"munge|socket|timed out|did not end within|Unable to contact|Connection refused|Communication|authentication"
    r"|Protocol|Unexpected message received|temporarily unavailable|could not be started|resolve|configuration source",
    re.IGNORECASE,
)
#: what to look at, by a word of the trouble
_HINTS = (
    ("munge", "is munge.service running on this node?"),
    ("temporarily unavailable", "Slurm takes no more jobs for now; is its MaxJobCount reached?"),
)


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


def failure(error: CommandFailed) -> Exception:
    """Return what a failed command of Slurm's means: NotFoundError, LrmsRefused, or LrmsError (nothing is known)."""
    said, value = error.reason, error.value
    if _TROUBLE.search(said):
        hint = next((hint for what, hint in _HINTS if what in said.lower()), "is slurmctld up? try: scontrol ping")
        return LrmsError(object=error.object, value=value, reason=said, hint=hint)
    if _ABSENT.search(said):
        return NotFoundError(object=error.object, value=value, reason=said)
    return LrmsRefused(object=error.object, value=value, reason=said)


class Commands:
    """Slurm's commands, each bounded in time.

    :param runner: replaces ``process.run`` in tests
    """

    def __init__(self, config: SlurmConfig, runner: Runner) -> None:
        self._config, self._runner = config, runner

    def run(self, *argv: str, input: Optional[str] = None) -> str:
        """Return what the command printed.

        :raises NotFoundError: slurmctld knows no such job, node or reservation
        :raises LrmsRefused: slurmctld has answered and would not
        :raises LrmsError: nothing is known
        """
        environment = {"PATH": "/usr/bin:/bin:/usr/local/bin:/opt/slurm/bin", "SLURM_TIME_FORMAT": "%s"}
        if "SLURM_CONF" in os.environ:
            environment["SLURM_CONF"] = os.environ["SLURM_CONF"]
        try:
            return self._runner(argv, timeout=self._config.timeout_s, input=input, env=environment).stdout
        except CommandFailed as error:
            raise failure(error) from None

    def update(self, *pairs: str) -> None:
        """Change a job, node or reservation, all of it or nothing."""
        self.run("scontrol", "update", *pairs)

    def batch(self, *commands: Sequence[str]) -> None:
        """Give several commands to one scontrol where they can be told there; else one after the other.

        scontrol goes on after one that fails, and says so at its end.
        """
        told: List[str] = []
        for words in commands:
            line = text.command(words)
            if line is None:
                self.run("scontrol", *words)
            else:
                told.append(line)
        if told:
            self.run("scontrol", input="".join(told))

    def submit(self, name: str, partition: str, node: str, script: str, *options: str) -> str:
        """Submit a job of root's to one node and return its id."""
        common = (
            "--parsable",
            "--export=NONE",
            "--no-requeue",
            f"--job-name={name}",
            f"--partition={partition}",
            f"--nodelist={node}",
            "--nodes=1",
            "--ntasks=1",
            "--chdir=/",
            "--output=/dev/null",
            "--error=/dev/null",
        )
        return self.run("sbatch", *common, *options, input=script).strip().split(";")[0]
