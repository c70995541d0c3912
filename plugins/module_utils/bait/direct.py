# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that the LRMS has sent straight to a VM that was offered to it."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Callable

from ..hypervisor.api import HypervisorApi
from ..lrms.base import Lrms, LrmsJob, LrmsJobState, Wish
from ..model.clock import Clock, Failpoints
from ..model.errors import RequestError
from ..model.job import Job
from ..model.phases import DIRECT
from ..model.states import JobState
from ..model.vm import VmUser
from .config import BaitConfig
from .ending import OVER
from .moves import Moves
from .request import Grants, fields, groups, labels, received
from .sightings import Sightings

log = logging.getLogger(__name__)

NOW_S = 0.0


class Direct:
    """Makes an offered VM the one of the job that came there, and of no other."""

    def __init__(
        self,
        config: BaitConfig,
        grants: Grants,
        lrms: Lrms,
        hypervisor: HypervisorApi,
        clock: Clock,
        failpoints: Failpoints,
        sightings: Sightings,
        moves: Moves,
        mark: Callable[..., str],
    ) -> None:
        self._config, self._grants, self._lrms, self._hypervisor = config, grants, lrms, hypervisor
        self._clock, self._failpoints = clock, failpoints
        self._sightings, self._moves, self._mark = sightings, moves, mark

    def settle_in(self, job: Job) -> float:
        """Make the VM that the LRMS chose this job's alone: closed to others, its share kept, its user known."""
        self._lrms.close_host(job.host)
        seen = self._sightings.fresh(job.lrms_id)
        for other in self._lrms.jobs_on(job.host):
            if other.id != job.lrms_id:
                self._send_back(other, job)
        if seen is None:
            return self._moves.finish(job, seen)
        placeholder = self._lrms.keep(job.vm_id, self._config.overheads.charge(job.request.resources), seen)
        self._failpoints.hit("bait.keep")
        if seen.state not in OVER:
            try:
                if seen.tag:  # of others the LRMS decides alone: they asked for nothing of ours
                    self._grants.granted(Wish(job.request.tag), seen)  # it may have named several
                self._hypervisor.use(job.vm_id, VmUser(job.user, groups(job.user), labels(job)))
            except RequestError as error:
                self._lrms.stop(seen, self._mark(job, str(error)))
                self._sightings.forget(job.lrms_id)
                return self._moves.move(replace(job, placeholder=placeholder), JobState.REFUSED, str(error))
        self._moves.put(replace(job, placeholder=placeholder))
        return NOW_S

    def _send_back(self, other: LrmsJob, job: Job) -> None:
        """Another job was sent to the VM of ``job`` in the same moment: it goes back into the queue, and on at once."""
        now = self._clock.now()
        back = received(other, job.request, now, original=other.fixed, path=DIRECT)
        back = back.moved(JobState.RETURNED, now, "another job was sent to the same VM")
        if other.state is LrmsJobState.RUNNING and other.fixed.get("Requeue") == "0":
            log.warning(
                "job %s was sent to the same VM and must not begin again: it stays", other.id, extra=fields(job)
            )
            return
        log.warning("job %s was sent to the same VM and goes back", other.id, extra=fields(job))
        back = self._moves.put(back)
        self._failpoints.hit("bait.send_back")
        self._lrms.stop(other, self._mark(back, back.reason))
        self._moves.moved(back)
