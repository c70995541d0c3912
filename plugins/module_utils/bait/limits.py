# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of the batch system: what a job waits for wherever it is, so that a VM would only stand idle.

A job that is held on its way to a VM counts as none that runs, so its LRMS dispatches the next one as if there were
room for it. Such a job waits in our hands, without a VM, until it is its turn.
"""

from __future__ import annotations

from ..engine.journal import Journal
from ..lrms.base import Lrms, LrmsJob
from ..model.job import Job
from ..model.states import JobState


class Limits:
    """See the module."""

    def __init__(self, lrms: Lrms, journal: Journal[Job]) -> None:
        self._lrms, self._journal = lrms, journal

    def of(self, job: Job, seen: LrmsJob) -> str:
        """Return the limit for which a VM of the job would only wait; empty: none is known.

        Some can be computed. Of all others the first job of its kind finds out, with its VM; the rest wait for it.
        """
        limit = self._lrms.limit(seen)
        if limit:
            return limit
        for other in self._journal.active():
            if other.id != job.id and other.kind == job.kind and other.state is JobState.MIGRATING and other.limit:
                return f"{other.limit}, as job {other.lrms_id} does"
        return ""
