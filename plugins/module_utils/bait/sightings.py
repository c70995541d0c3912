# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the LRMS said of our jobs, and when: nothing is decided on an old word, and nothing is asked twice at once."""

from __future__ import annotations

from typing import Dict, Iterable, Optional, Tuple

from ..lrms.base import Lrms, LrmsJob, LrmsJobState
from ..model.clock import Clock


class Sightings:
    """The last readings of jobs.

    :param good_s: how old a reading may be, in seconds
    """

    def __init__(self, lrms: Lrms, clock: Clock, good_s: float) -> None:
        self._lrms, self._clock, self._good_s = lrms, clock, good_s
        self._seen: Dict[str, Tuple[float, LrmsJob]] = {}

    def fresh(self, job_id: str) -> Optional[LrmsJob]:
        """Ask the LRMS now."""
        job = self._lrms.job(job_id)
        if job is None:
            self.forget(job_id)
        else:
            self._seen[job.id] = self._clock.now(), job
        return job

    def last(self, job_id: str) -> Optional[LrmsJob]:
        """Return a reading that is good enough, asking where there is none; a job on the move is always asked for."""
        at, job = self._seen.get(job_id, (0.0, None))
        if job is None or job.state is LrmsJobState.COMPLETING or self._clock.now() - at > self._good_s:
            return self.fresh(job_id)
        return job

    def all(self, job_ids: Iterable[str]) -> Dict[str, LrmsJob]:
        """Ask for several jobs at once."""
        wanted, now = tuple(job_ids), self._clock.now()
        found = self._lrms.jobs(wanted)
        for job_id in wanted:
            self.forget(job_id)
        self._seen.update({job_id: (now, job) for job_id, job in found.items()})
        return found

    def changed(self, job_ids: Iterable[str]) -> Tuple[str, ...]:
        """Ask for several jobs at once and return those of which something else is said than before."""
        wanted = tuple(job_ids)
        before = {job_id: self._seen[job_id][1] for job_id in wanted if job_id in self._seen}
        found = self.all(wanted)
        return tuple(job_id for job_id in wanted if before.get(job_id) != found.get(job_id))

    def known(self, job_id: str) -> Optional[LrmsJob]:
        """Return the last reading, however old it is."""
        return self._seen.get(job_id, (0.0, None))[1]

    def forget(self, job_id: str) -> None:
        """Something happened to the job: what was said of it is worth nothing now."""
        self._seen.pop(job_id, None)
