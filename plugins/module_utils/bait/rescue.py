# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that are in the hands of a bait that is no more: its node is dead, or was installed anew.

What has to be undone stands in the batch system, beside the mark, so that any bait can do it. Each one looks after what
carries its own name and stands in no record of its; the first one that is alive looks after those of the dead.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Callable, Dict, Protocol, Set, Tuple

from ..directory.base import Heartbeat
from ..engine.journal import Journal
from ..lrms.base import HostState, Lrms, LrmsJob
from ..model.clock import Clock
from ..model.job import Job, JobRequest
from ..model.mark import Mark
from ..model.resources import Resources
from ..model.states import JobState
from . import request
from .config import BaitConfig

log = logging.getLogger(__name__)

#: a bait that was silent for so long is dead, if the batch system does not reach its node either; in seconds
SILENT_S = 300.0


class Heartbeats(Protocol):
    """What is needed of the nameserver."""

    def heartbeats(self) -> Tuple[Heartbeat, ...]:
        """See ``Directory.heartbeats``."""


class Rescue:
    """Brings such jobs back into the queue.

    :param moved: told of each job that has come into another state
    """

    def __init__(
        self,
        config: BaitConfig,
        lrms: Lrms,
        directory: Heartbeats,
        journal: Journal[Job],
        clock: Clock,
        moved: Callable[[Job], None],
    ) -> None:
        self._config, self._lrms, self._directory = config, lrms, directory
        self._journal, self._clock, self._moved = journal, clock, moved
        #: those of the last look: a job is brought back when it was nobody's twice
        self._seen: Set[str] = set()
        #: since when a bait is missed of which nothing was heard since we began
        self._missed: Dict[str, float] = {}

    def look(self) -> None:
        """Look once."""
        stray = {}
        for seen in self._lrms.marked():
            mark = Mark.parse(seen.mark)
            if mark is not None and mark.undo and not self._is_known(mark):
                stray[mark.id] = (seen, mark)
        dead = self._dead({mark.bait for _seen, mark in stray.values()})
        ours = {key: found for key, found in stray.items() if found[1].bait in dead}
        for key in sorted(self._seen & set(ours)):
            self._bring_back(*ours[key])
        self._seen = set(ours)

    def _is_known(self, mark: Mark) -> bool:
        return any(job.id == mark.id for job in self._journal.active())

    def _dead(self, baits: Set[str]) -> Set[str]:
        """Return those of ``baits`` whose jobs are ours to bring back: our own name's, and those of dead ones."""
        others = baits - {self._config.host}
        found = baits & {self._config.host}
        if not others:
            return found
        beats = {beat.host: beat.at for beat in self._directory.heartbeats() if beat.role == "bait"}
        newest = max(beats.values(), default=0.0)
        alive = sorted(host for host, at in beats.items() if newest - at <= SILENT_S)
        if self._config.host != next(iter(alive), ""):
            return found
        return found | {host for host in others - set(alive) if self._is_unreachable(host)}

    def _is_unreachable(self, host: str) -> bool:
        return self._lrms.host(host) in (HostState.ABSENT, HostState.DOWN, HostState.JOINING)

    def _bring_back(self, seen: LrmsJob, mark: Mark) -> None:
        log.warning("job %s was in the hands of bait %s, which is gone: it goes back", seen.id, mark.bait)
        reason = f"its node {mark.bait} is gone, or has forgotten it"
        asked = JobRequest(seen.tag, Resources(seen.resources.cpus, seen.resources.memory_mib))
        job = request.received(
            seen,
            asked,
            self._clock.now(),
            original=mark.undo,
            released="Partition" in mark.undo,
            attempt=mark.attempt,
            stops=mark.stops,
            avoided=mark.avoided,
        )
        # its mark stays that of the one who made it, so that two who bring it back are one
        job = replace(job, id=mark.id)
        known = self._journal.get(job.id)
        if known is None or known.state is JobState.CLOSED:
            self._moved(self._journal.put(job.moved(JobState.RETURNED, self._clock.now(), reason)))
