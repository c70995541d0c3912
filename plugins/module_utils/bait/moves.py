# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The moves of virtual jobs, whoever makes them: what is stored, who is told, what a failure costs."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Callable, Dict, Optional

from ..engine.backoff import backoff
from ..engine.journal import Journal, Outdated
from ..lrms.base import Lrms, LrmsJob
from ..model.clock import Clock, Failpoints
from ..model.job import Hold, Job
from ..model.phases import ENDED
from ..model.states import JobState
from .config import BaitConfig
from .faults import Faults
from .request import fields

log = logging.getLogger(__name__)

NOW_S = 0.0


class Moves:
    """Moves jobs from state to state.

    :param moved: told of each job that has come into another state
    """

    def __init__(
        self,
        config: BaitConfig,
        lrms: Lrms,
        journal: Journal[Job],
        clock: Clock,
        failpoints: Failpoints,
        moved: Callable[[Job], None],
    ) -> None:
        self._config, self._lrms, self._journal = config, lrms, journal
        self._clock, self._failpoints, self.moved = clock, failpoints, moved
        self.faults = Faults(clock, (config.backoff_s, config.max_backoff_s))
        #: when the LRMS did not answer last: what only it can bring about is not late for that
        self.silent_at = 0.0
        #: when a job's VM said that the job was over, by LRMS id
        self.ended_at: Dict[str, float] = {}

    def put(self, job: Job, state: Optional[JobState] = None) -> Job:
        """Store what a step has found of ``job``, unless it was moved meanwhile.

        :param state: the state that it is moved from; None: it is not moved
        :raises Outdated: it was
        """
        current = self._journal.get(job.id)
        if current is None:
            return self._journal.put(job)
        if current.state is not (state or job.state):
            raise Outdated(object=f"job {job.lrms_id}", reason=f"is {current.state.value} meanwhile")
        return self._journal.replace(current, job)

    def move(self, job: Job, state: JobState, reason: str = "") -> float:
        log.info("%s → %s %s", job.state.value, state.value, reason, extra=fields(job))
        self.moved(self.put(job.moved(state, self._clock.now(), reason), job.state))
        self._failpoints.hit(f"bait.{state.value.lower()}")
        return NOW_S

    def fail(self, job: Job, reason: str) -> float:
        """The VM of ``job`` failed before the job ran: that is the node's fault or the image's, never the job's.

        It goes back into the queue with a growing pause, and to another node where there is one.
        """
        elsewhere = self._lrms.others_serve(job.request.tag)
        self.faults.failed(job.request.tag, reason)
        return self._give_back(replace(job, failed=True), reason, self._pause_s(job.attempt), elsewhere)

    def _broke(self, job: Job) -> float:
        """The VM of ``job`` ended while the job ran: that may be the job's doing, so it is not tried for ever."""
        if job.attempt >= self._config.max_attempts:
            return self.move(
                job, JobState.REFUSED, f"its VM ended while it ran, {job.attempt} times, the last time: {job.lost}"
            )
        return self._give_back(replace(job, failed=True), job.lost, self._pause_s(job.attempt))

    def _crowded(self, job: Job, reason: str) -> float:
        """The node has no room for the VM of ``job``."""
        return self._give_back(replace(job, crowded=job.crowded + 1), reason, self._pause_s(job.crowded + 1))

    def _pause_s(self, times: int) -> float:
        return backoff(times, self._config.backoff_s, self._config.max_backoff_s)

    def _give_back(
        self, job: Job, reason: str, pause_s: float = 0.0, avoid_node: bool = False, hold: Hold = Hold.NOBODY
    ) -> float:
        returned = replace(job, retry_after_s=pause_s, avoid_node=avoid_node, hold=hold)
        return self.move(returned, JobState.RETURNED, reason)

    def leave(self, job: Job, reason: str) -> float:
        """Others took ``job`` out of our hands: take away what was made for it, touch it no more."""
        return self.move(replace(job, settled=True), JobState.RETURNED, reason)

    def finish(self, job: Job, seen: Optional[LrmsJob]) -> float:
        code = seen.exit_code if seen is not None else None
        ended = self.ended_at.pop(job.lrms_id, 0.0)
        moments = {**job.moments, ENDED: ended} if ended else job.moments
        return self.move(replace(job, exit_code=code, settled=True, moments=moments), JobState.FINISHED)
