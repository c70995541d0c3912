# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bait over fakes, driven by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from wnodes.bait.config import BaitConfig
from wnodes.bait.pool import is_over
from wnodes.bait.service import Bait
from wnodes.directory.base import Heartbeat
from wnodes.engine.journal import Journal
from wnodes.hypervisor.fake import FakeHypervisor
from wnodes.lrms.fake import FakeLrms
from wnodes.lrms.slurm import SlurmConfig
from wnodes.model.clock import Failpoints, FakeClock
from wnodes.model.errors import WnodesError
from wnodes.model.job import Job
from wnodes.model.pool import PoolVm
from wnodes.model.states import JobState
from wnodes.nameserver.config import NameserverAccess

TAG = "worker_debian12_x86_64"


@dataclass
class Beats:
    heard: list[Heartbeat] = field(default_factory=list)

    def beat(self, heartbeat: Heartbeat) -> None:
        self.heard.append(heartbeat)


class Site:
    """One node with its bait; ``restart`` builds a new bait on the same journal, as after a crash."""

    def __init__(
        self, path: str = ":memory:", observe: Callable[[Job], None] = lambda job: None, **config: object
    ) -> None:
        self.clock, self.failpoints = FakeClock(), Failpoints()
        self.lrms, self.hypervisor, self.directory = FakeLrms(), FakeHypervisor(), Beats()
        self.hypervisor.now = self.clock.now
        self.path, self.observe = path, observe
        settings = {
            "host": "hv1",
            "slurm": SlurmConfig(node="hv1"),
            "nameserver": NameserverAccess("https://head:8443"),
            **config,
        }
        self.config = BaitConfig(**settings)  # type: ignore[arg-type]
        self.restart()

    def restart(self) -> None:
        journal = Journal(self.path, Job, lambda job: job.state is JobState.CLOSED)
        waiting = Journal(self.path if self.path == ":memory:" else f"{self.path}.pool", PoolVm, is_over)
        seams = (self.lrms, self.hypervisor, self.directory)
        self.bait = Bait(self.config, *seams, journal, waiting, self.clock, self.failpoints, self.observe)
        for job in journal.active():
            self.bait.reconciler.wake(job.id)
        self.bait.pool.resume()

    def dispatch(self, **submit: object) -> tuple[str, str | None]:
        """Submit a job for a VM, let it be dispatched here; return its LRMS id and what the hook was told."""
        number = self.lrms.submit(tag=str(submit.pop("tag", TAG)), **submit)  # type: ignore[arg-type]
        answer = self.bait.dispatch(self.lrms.dispatch(number))
        return number, answer.action if answer else None

    def run(self, seconds: float = 30.0) -> None:
        """Let ``seconds`` pass, running every step when it is due."""
        end = self.clock.now() + seconds
        while True:
            with contextlib.suppress(WnodesError):
                self.bait.poll()
            loops = (self.bait.reconciler, self.bait.pool.reconciler)
            while sum(loop.run_due() for loop in loops):
                pass
            due = min((due for loop in loops for due in [loop.next_due()] if due is not None), default=None)
            if due is None or due > end:
                self.clock.advance(max(0.0, end - self.clock.now()))
                return
            self.clock.advance(max(0.0, due - self.clock.now()))

    def job(self, number: str) -> Job:
        return [job for job in self.bait.journal.all() if job.lrms_id == number][-1]
