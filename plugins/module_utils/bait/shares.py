# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's books are kept true: each VM that is there is on them, and nothing else of ours."""

from __future__ import annotations

import logging
from dataclasses import replace

from ..engine.journal import Journal
from ..lrms.base import Lrms
from ..model.job import Job
from ..model.states import JobState
from .config import BaitConfig
from .pool import Pool
from .request import fields

log = logging.getLogger(__name__)

_HAVE_A_VM = (JobState.VM_REQUESTED, JobState.VM_READY, JobState.MIGRATING, JobState.RUNNING)


class Shares:
    """Compares placeholders with jobs and VMs that wait."""

    def __init__(self, config: BaitConfig, lrms: Lrms, journal: Journal[Job], pool: Pool) -> None:
        self._config, self._lrms, self._journal, self._pool = config, lrms, journal, pool

    def look_after(self) -> None:
        """Take away placeholders that belong to nothing, and take shares again that were lost."""
        # in this order: a record comes before its placeholder, and the job's before that of its VM goes
        before, waiting = self._journal.active(), self._pool.waiting_keys()
        placed, kept = self._lrms.placeholders(), set(self._pool.keys())
        kept |= {job.vm_id for job in self._journal.active()}
        for key in placed:
            if key not in kept:
                log.warning("placeholder of no job of ours: %s", key)
                self._lrms.unplace(key)
        for job in before:
            if job.vm_id not in placed:
                self._take_again(job.id)
        for key in waiting:
            if key not in placed:
                self._pool.lost_share(key)

    def _take_again(self, job_id: str) -> None:
        """The share of a job's VM was lost, whoever did that: it is off the books as long as the VM is there."""
        job = self._journal.get(job_id)
        if job is None or job.state not in _HAVE_A_VM or not job.placeholder:
            return
        seen = self._lrms.job(job.lrms_id)
        if seen is not None:
            log.warning("its share of the node was lost and is taken again", extra=fields(job))
            # in its own reservation, not in that of its VM, which is on another node
            own = replace(seen, fixed={**seen.fixed, **(job.original or {})})
            self._lrms.place(job.vm_id, self._config.overheads.charge(job.request.resources), own)
