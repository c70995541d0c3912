# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a virtual job for us: its job in the LRMS is left as it has to be, what was made for it is taken away."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Callable, Dict, Optional

from ..engine.journal import Journal
from ..hypervisor.api import HypervisorApi
from ..lrms.base import AVOIDED, Lrms, LrmsJobState
from ..model.clock import Clock, Failpoints
from ..model.errors import NotFoundError, WnodesError
from ..model.job import Hold, Job
from ..model.mark import Mark
from ..model.phases import DIRECT
from ..model.states import JobState, VmState
from ..model.vm import told_apart
from .joining import Joining
from .pool import Pool
from .sightings import Sightings

log = logging.getLogger(__name__)

SOON_S = 0.2
#: the moment at which a job was seen to have left the node that it was dispatched to
LEFT = "left"
#: what ties a job to its VM, in the LRMS's terms
TIED = ("Partition", "ReqNodeList", "ReservationName")
OVER = (LrmsJobState.ENDED, LrmsJobState.CANCELLED)


def undo(job: Job) -> Dict[str, str]:
    """Return what we have changed in the LRMS's job, as it was before."""
    tied = job.released and job.path != DIRECT
    return {key: value for key, value in (job.original or {}).items() if key == "Requeue" or (tied and key in TIED)}


class Ending:
    """Brings jobs from their outcome to CLOSED. What can't be done now is tried again; the rest is done all the same.

    :param put: stores what was done for a job
    :param close: moves a job to CLOSED
    """

    def __init__(
        self,
        host: str,
        lrms: Lrms,
        hypervisor: HypervisorApi,
        journal: Journal[Job],
        clock: Clock,
        failpoints: Failpoints,
        sightings: Sightings,
        joining: Joining,
        pool: Pool,
        put: Callable[[Job], Job],
        close: Callable[[Job], None],
    ) -> None:
        self._host, self._lrms, self._hypervisor, self._journal = host, lrms, hypervisor, journal
        self._clock, self._failpoints, self._sightings = clock, failpoints, sightings
        self._joining, self._pool, self._put, self._close = joining, pool, put, close

    def step(self, job: Job) -> Optional[float]:
        """Do what is left to do for a job that has its outcome; None when that is all."""
        trouble: Optional[WnodesError] = None
        if not job.settled:
            try:
                after = self._settle(job)
            except WnodesError as error:
                trouble = error
            else:
                if after is not None:
                    return after
                job = self._put(replace(job, settled=True))
        later = self._clean_up(job, stuck=trouble is not None)
        if trouble is not None:
            raise trouble
        if later is not None:
            return later
        self._close(job)
        return None

    # the LRMS's job

    def mark(self, job: Job, reason: str = "", under_way: bool = True) -> str:
        """Return the mark of ``job`` as text.

        :param under_way: it stays in our hands, so what has to be undone is told
        """
        avoided = self._host if job.avoid_node else job.avoided
        attempt = job.attempt + (1 if job.failed else 0)
        return str(
            Mark(
                job.id,
                self._host,
                attempt,
                told_apart(reason)[0],
                job.stops,
                job.crowded,
                avoided,
                under_way and bool(job.limit) and not job.placeholder,
                undo(job) if under_way else {},
            )
        )

    def is_ours(self, job: Job, mark: str) -> bool:
        """Return whether the mark of the LRMS's job is that of ``job``."""
        found = Mark.parse(mark)
        return found is not None and found.id == job.id

    def _settle(self, job: Job) -> Optional[float]:
        """Leave the LRMS's job as it has to be; None when that is done."""
        seen = self._sightings.fresh(job.lrms_id)
        if seen is None or seen.state in OVER or not self.is_ours(job, seen.mark):
            return None
        if seen.state not in (LrmsJobState.HELD, LrmsJobState.PENDING):
            return SOON_S
        refused = job.state is JobState.REFUSED
        hold = Hold.ADMINISTRATOR if refused else job.hold
        original = {**undo(job), **({AVOIDED: job.avoided} if job.avoided else {})}
        self._lrms.give_back(
            job.lrms_id,
            original,
            self.mark(job, job.reason, under_way=False),
            0.0 if refused else self._pause_s(job),
            job.avoid_node,
            hold,
        )
        return None

    def _pause_s(self, job: Job) -> float:
        """Return how long the job must not start: no node that has had it lately may see it again.

        Whoever put it back (we, its owner, an administrator, the LRMS itself) and whichever node it goes to.
        """
        if job.path == DIRECT and LEFT not in job.moments:
            return job.retry_after_s  # only its VM has had it
        away_s = self._clock.since(job.moments[LEFT]) if LEFT in job.moments else 0.0
        return max(job.retry_after_s, self._lrms.quarantine_s() - away_s)

    # what was made for it

    def _clean_up(self, job: Job, stuck: bool) -> Optional[float]:
        """Take away what was made for the job; None when all of it is gone.

        :param stuck: the LRMS's job is still tied to its host, which may not go then; all else does
        """
        kept = job.state is JobState.FINISHED and self._kept(job)
        if job.joined and not kept:
            try:
                self._joining.leave(job.vm_id, job.host)
            except WnodesError:
                if not stuck:
                    raise
            else:
                job = self._put(replace(job, joined=False))
                self._failpoints.hit("bait.remove_host")
        if not kept and (job.vm or self._had_a_vm(job)):
            try:
                if self._hypervisor.destroy(job.vm_id).state is not VmState.GONE:
                    return SOON_S
            except NotFoundError:
                pass
            if not stuck:
                self._joining.gone(job.vm_id, job.host)
        self._failpoints.hit("bait.unplace")
        if not kept:
            self._lrms.unplace(job.vm_id)
        return None

    def _kept(self, job: Job) -> bool:
        """Return whether the VM of a finished job waits for another one of the same user."""
        taken = (other.vm for other in self._journal.active() if other.id != job.id)
        if job.vm_id in (*self._pool.keys(), *taken):
            return True  # before a restart: the placeholder under its id is another's by now
        if not self._pool.may_keep(job):
            return False
        self._lrms.unplace(job.vm_id)
        self._failpoints.hit("bait.reuse")
        self._pool.keep(job)
        return True

    @staticmethod
    def _had_a_vm(job: Job) -> bool:
        return any(move.state == JobState.VM_REQUESTED.value for move in job.history)
