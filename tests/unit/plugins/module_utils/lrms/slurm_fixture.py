# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A runner that plays Slurm."""

from __future__ import annotations

from collections.abc import Sequence

from wnodes.lrms.base import LrmsJob, LrmsJobState
from wnodes.lrms.slurm import Slurm
from wnodes.lrms.slurm_commands import SlurmConfig
from wnodes.model.errors import CommandFailed
from wnodes.model.resources import Resources
from wnodes.process import Completed

ORIGINAL = {
    "Partition": "main",
    "TimeLimit": "1:00:00",
    "Features": "vm_a_b_c",
    "ReqNodeList": "",
    "ReservationName": "",
    "Requeue": "0",
    "BatchFlag": "1",
    "Nice": "0",
}


class Played:
    """Answers by the first words of a command; everything else answers with nothing."""

    def __init__(self, **answers: str) -> None:
        self.answers = {key.replace("_", " "): value for key, value in answers.items()}
        self.calls: list[tuple[str, ...]] = []

    def __call__(self, argv: Sequence[str], **_options: object) -> Completed:
        self.calls.append(tuple(argv))
        told = str(_options.get("input") or "")
        said = " ".join(argv)
        if argv[0] == "scontrol" and told:
            self.calls[-1] = (*argv, "<", told)
        for start, answer in self.answers.items():
            if said.startswith(start):
                if answer.startswith("error:"):
                    raise CommandFailed(object=argv[0], value=said, reason=answer)
                return Completed(argv, 0, answer, "")
        return Completed(argv, 0, "", "")

    def said(self) -> list[str]:
        return [" ".join(call) for call in self.calls]


def slurm(played: Played, **config: object) -> Slurm:
    return Slurm(SlurmConfig(node="hv1", **config), played)  # type: ignore[arg-type]


JOB = LrmsJob(
    "7", LrmsJobState.RUNNING, "alice", 2001, Resources(1, 512), host="hv1", fixed={**ORIGINAL, "BatchFlag": "1"}
)


class Particular(Played):
    """Refuses updates that name one thing."""

    def __init__(self, refused: str, said: str, **answers: str) -> None:
        super().__init__(**answers)
        self.refused, self.error = refused, said

    def __call__(self, argv: Sequence[str], **options: object) -> Completed:
        done = super().__call__(argv, **options)
        if any(self.refused in word for word in argv):
            raise CommandFailed(object=argv[0], value=" ".join(argv), reason=self.error)
        return done
