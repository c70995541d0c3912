# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second net: virtual jobs that run on the node itself although they must not.

The first is the hook, which stops every virtual job before it begins. A batch system's daemon may leave the hook out,
as Slurm's does for a job that it believes to know already. So each second the node itself is asked what runs there.
"""

from __future__ import annotations

import logging
import threading
from typing import Dict, Set

from ..engine.journal import Journal
from ..lrms.base import Lrms, LrmsJob, LrmsJobState
from ..model.clock import Clock
from ..model.job import Job, JobRequest
from ..model.resources import Resources
from ..model.states import JobState
from . import request
from .config import BaitConfig
from .journey import Journey, before_running

log = logging.getLogger(__name__)

#: how long administrators are told of the last one, in seconds
TOLD_S = 86400.0


class BareRuns:
    """Finds and stops them; see the module."""

    def __init__(
        self,
        config: BaitConfig,
        lrms: Lrms,
        grants: request.Grants,
        journal: Journal[Job],
        journey: Journey,
        clock: Clock,
    ) -> None:
        self._config, self._lrms, self._grants = config, lrms, grants
        self._journal, self._journey, self._clock = journal, journey, clock
        self._lock = threading.Lock()
        #: runs that are known to be rightly here, and jobs that the hook was told to let run
        self._right: Dict[str, str] = {}
        self._let_run: Set[str] = set()
        self._begun = False
        #: how many were stopped, when the last one was, and which
        self.count, self._last_at, self._last = 0, 0.0, ""

    def let_run(self, number: str) -> None:
        """The hook was told to let this job run here: it is a real one."""
        with self._lock:
            self._let_run.add(number)

    def look(self) -> None:
        """Look once."""
        present = self._lrms.present()
        with self._lock:
            gone = {number for run, number in self._right.items() if run not in present}
            self._let_run -= gone - set(present.values())
            self._right = {run: number for run, number in self._right.items() if run in present}
            new = {run: number for run, number in present.items() if run not in self._right}
        for run, number in new.items():
            if self._is_right(number):
                with self._lock:
                    self._right[run] = number
        self._begun = True

    def _is_right(self, number: str) -> bool:
        """Return whether the run needs no more looks; a wrong one has been stopped."""
        seen = self._lrms.job(number)
        if seen is None or seen.state is not LrmsJobState.RUNNING or seen.host != self._config.slurm.node:
            return True
        mine = [job for job in self._journal.active() if job.lrms_id == seen.id]
        if any(job.state is JobState.RECEIVED for job in mine):
            return False  # the hook is at it
        if not self._is_virtual(seen, number):
            return True
        for job in mine:
            if before_running(job):
                self._journey.leave(job, "it was started on the node itself")
        self._stop(seen)
        return True

    def _is_virtual(self, seen: LrmsJob, number: str) -> bool:
        if seen.partition in self._config.slurm.own_partitions:
            return False
        if seen.tag:
            return True
        # Of those that began before us nobody knows whether they were virtual by the rules of their time.
        if not self._begun or {number, seen.id} & self._let_run:
            return False
        return bool(self._grants.default_image(seen.user, seen.partition))

    def _stop(self, seen: LrmsJob) -> None:
        asked = JobRequest(seen.tag, Resources(seen.resources.cpus, seen.resources.memory_mib))
        job = request.received(seen, asked, self._clock.now(), **request.told_by(seen))
        log.error("a virtual job runs on the node itself and is stopped", extra=request.fields(job))
        kept = self._journey.stop_bare(seen, job)
        self.count, self._last_at = self.count + 1, self._clock.now()
        self._last = f"job {seen.id} of {seen.user}" + ("" if kept else ", which could not be put back and was ended")

    def problem(self) -> str:
        """Return what administrators are told; empty: nothing lately."""
        if not self.count or self._clock.now() - self._last_at > TOLD_S:
            return ""
        return (
            f"{self.count} virtual jobs began on the node itself and were stopped at once, the last one: {self._last}"
        )
