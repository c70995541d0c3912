# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bait over fakes, driven by hand."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wnodes.bait.config import BaitConfig, PoolConfig, PoolFlavour
from wnodes.bait.drain import Order, is_lifted
from wnodes.bait.pool import is_over
from wnodes.bait.rules import Rules
from wnodes.bait.service import Bait
from wnodes.directory.base import Heartbeat
from wnodes.engine.journal import Journal
from wnodes.hypervisor.fake import FakeHypervisor
from wnodes.lrms.base import LrmsJobState
from wnodes.lrms.fake import FakeLrms
from wnodes.lrms.slurm_commands import SlurmConfig
from wnodes.model.clock import Failpoints, FakeClock
from wnodes.model.errors import WnodesError
from wnodes.model.job import Job
from wnodes.model.pool import PoolVm
from wnodes.model.resources import Overheads, Resources
from wnodes.model.states import JobState, PoolState, VmState
from wnodes.nameserver.config import NameserverAccess

TAG = "worker_debian12_x86_64"


class Killed(BaseException):
    """Stands for SIGKILL."""


def killed() -> None:
    raise Killed


@dataclass
class Beats:
    heard: list[Heartbeat] = field(default_factory=list)

    def beat(self, heartbeat: Heartbeat) -> None:
        self.heard.append(heartbeat)

    def heartbeats(self) -> tuple[Heartbeat, ...]:
        return tuple(self.heard)


class Site:
    """One node with its bait; ``restart`` builds a new bait on the same journal, as after a crash."""

    def __init__(
        self,
        path: str = ":memory:",
        observe: Callable[[Job], None] = lambda job: None,
        rules: Rules | None = None,
        **config: object,
    ) -> None:
        self.clock, self.failpoints = FakeClock(), Failpoints()
        self.lrms, self.hypervisor, self.directory = FakeLrms(), FakeHypervisor(), Beats()
        self.hypervisor.now = self.clock.now
        self.path, self.observe, self.rules = path, observe, rules
        settings = {
            "host": "hv1",
            "slurm": SlurmConfig(node="hv1"),
            "nameserver": NameserverAccess("https://head:8443"),
            "max_scratch_mib": 1_048_576,
            "overheads": Overheads(192, 256, 0, 0),
            **config,
        }
        self.config = BaitConfig(**settings)  # type: ignore[arg-type]
        self.watch: Callable[[], None] = lambda: None
        self._kept: tuple[Journal[Job], Journal[PoolVm], Journal[Order]] | None = None
        self.restart()

    def restart(self) -> None:
        if self._kept is None or self.path != ":memory:":
            pool, drains = (
                self.path if self.path == ":memory:" else f"{self.path}.{what}" for what in ("pool", "drain")
            )
            jobs = Journal(self.path, Job, lambda job: job.state is JobState.CLOSED)
            self._kept = jobs, Journal(pool, PoolVm, is_over), Journal(drains, Order, is_lifted)
        journal = self._kept[0]
        seams = (self.lrms, self.hypervisor, self.directory)
        observed = (self.clock, self.failpoints, self.observe)
        self.bait = Bait(self.config, *seams, *self._kept, *observed, self.rules)
        # nobody waits for real
        self.bait._stop.wait = self._wait  # type: ignore[method-assign]
        for job in journal.active():
            self.bait.reconciler.wake(job.id)
        self.bait.pool.resume()

    def _wait(self, seconds: float | None = None) -> bool:
        self.clock.advance(seconds or 0.0)
        return False

    def dispatch(self, **submit: Any) -> tuple[str, str | None]:
        """Submit a job for a VM, let it be dispatched here; return its LRMS id and what the hook was told."""
        comment = str(submit.pop("comment", ""))
        number = self.lrms.submit(tag=str(submit.pop("tag", TAG)), **submit)
        answer = self.bait.dispatch(self.lrms.dispatch(number, comment))
        return number, answer.action if answer else None

    def run(self, seconds: float = 30.0) -> None:
        """Let ``seconds`` pass, running every step when it is due."""
        end = self.clock.now() + seconds
        while True:
            for hear in (self.bait.poll, lambda: self.bait.listen(0.0)):
                with contextlib.suppress(WnodesError):
                    hear()
            loops = (self.bait.reconciler, self.bait.pool.reconciler)
            while sum(loop.run_due() for loop in loops):
                pass
            self.watch()
            due = min((due for loop in loops for due in [loop.next_due()] if due is not None), default=None)
            if due is None or due > end:
                self.clock.advance(max(0.0, end - self.clock.now()))
                return
            self.clock.advance(max(0.0, due - self.clock.now()))

    def job(self, number: str) -> Job:
        return [job for job in self.bait.journal.all() if job.lrms_id == number][-1]

    # VMs that wait

    def pool(self, *states: PoolState) -> list[PoolVm]:
        """Return the pool's VMs in ``states``; all that are not gone where none is named."""
        return [vm for vm in self.bait.pool._journal.active() if not states or vm.state in states]

    def waiting(self) -> list[PoolVm]:
        return self.pool(PoolState.WAITING)

    def real_job(self, cpus: int, memory_mib: int) -> None:
        """Let a job that asks for no VM take this much of the node."""
        before = self.lrms.taken
        self.lrms.taken = Resources(before.cpus + cpus, before.memory_mib + memory_mib)
        answer = self.bait.dispatch(self.lrms.dispatch(self.lrms.submit(cpus=cpus, memory_mib=memory_mib)))
        assert answer is not None and answer.action == "run"


def flavour(waiting: int = 1, memory_mib: int = 512, cpus: int = 1, tag: str = TAG) -> PoolFlavour:
    return PoolFlavour(tag, cpus, memory_mib, waiting=waiting)


def pooled(
    *flavours: PoolFlavour,
    path: str = ":memory:",
    run: float = 30.0,
    rules: Rules | None = None,
    **settings: object,
) -> Site:
    """Return a site with a pool that has had ``run`` seconds to fill."""
    pool = PoolConfig(flavours, **settings)  # type: ignore[arg-type]
    site = Site(path, rules=rules, pool=pool)
    site.run(run)
    return site


def nothing_left(site: Site) -> None:
    """No host, placeholder or VM is there."""
    assert site.lrms.hosts == {}
    assert site.lrms.holders == {}
    assert {vm.state for vm in site.hypervisor.vms.values()} <= {VmState.GONE}


def only_the_pool_left(site: Site) -> None:
    """Hosts, placeholders and VMs are exactly those of the VMs that wait."""
    there = site.waiting()
    assert there == site.pool()
    assert {vm.host for vm in there} == set(site.lrms.hosts)
    assert {vm.id: vm.placeholder for vm in there} == site.lrms.holders
    assert set(site.lrms.holders.values()) == site.lrms.waiting
    assert {vm.id for vm in there} == {vm.id for vm in site.hypervisor.vms.values() if vm.state is not VmState.GONE}


def one_owner_each(site: Site) -> None:
    """No VM is had by two, whether jobs or pool."""
    jobs = Counter(job.vm_id for job in site.bait.journal.active())
    assert [vm for vm, count in jobs.items() if count > 1] == []
    assert [vm for vm in site.pool() if vm.state is not PoolState.TAKEN and vm.id in jobs] == []
    hosts = Counter(job.host for job in site.lrms.table.values() if job.state is LrmsJobState.RUNNING)
    assert [host for host, count in hosts.items() if count > 1 and host != site.lrms.node] == []


def within_the_free_room(site: Site) -> None:
    """Jobs and VMs that wait have no more than the node has."""
    free = site.lrms.room().free
    shares = [site.config.overheads.charge(vm.request.resources) for vm in site.pool()]
    assert sum(share.cpus for share in shares) <= free.cpus
    assert sum(share.memory_mib for share in shares) <= free.memory_mib
