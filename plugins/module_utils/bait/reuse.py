# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM that has run a job of a user may wait for another one of the same user, where the site has chosen that."""

from __future__ import annotations

from typing import Optional

from ..model.job import Job
from ..model.phases import DIRECT
from ..model.pool import PoolVm
from ..model.states import PoolState
from ..model.vm import Vm
from .config import PoolConfig


def may_wait_again(config: PoolConfig, job: Job, known: Optional[PoolVm], now: float) -> bool:
    """Return whether the VM of a job that has ended may see another one, if it is still up.

    :param known: what the pool knows of it; None for a VM that was made for the job
    """
    if not config.reuse_s or job.path == DIRECT:
        return False
    uses = (known.uses if known else 0) + 1
    return uses < config.reuse_jobs and now - _born(job, known) <= config.reuse_s


def waiting_again(job: Job, vm: Vm, known: Optional[PoolVm], now: float) -> PoolVm:
    """Return the VM of a job that has ended as one of the pool's, for the job's user alone."""
    return PoolVm(
        id=job.vm_id,
        request=known.request if known else job.request,
        state=PoolState.JOINING,
        since=now,
        born=_born(job, known),
        host=job.host,
        address=job.address,
        digest=vm.image.digest if vm.image else "",
        joined=True,
        user=job.user,
        uses=(known.uses if known else 0) + 1,
    )


def _born(job: Job, known: Optional[PoolVm]) -> float:
    return known.born if known else job.history[0].at
