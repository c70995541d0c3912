# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real bait on a private Slurm: its hook is the installed one, its VMs are slurmds that a fake hypervisor starts."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.integration.libvirt_fixture import until
from tests.integration.private_slurm import NODES, PrivateSlurm
from wnodes.bait.config import BaitConfig
from wnodes.bait.drain import Order, is_lifted
from wnodes.bait.hooksocket import HookSocket
from wnodes.bait.pool import is_over
from wnodes.bait.service import Bait
from wnodes.directory.base import Heartbeat
from wnodes.engine.journal import Journal
from wnodes.hypervisor.fake import FakeHypervisor
from wnodes.lrms.slurm import Slurm, SlurmConfig
from wnodes.model.job import Job
from wnodes.model.pool import PoolVm
from wnodes.model.states import JobState, VmState
from wnodes.model.vm import GuestSetup, Vm, VmEvent, VmRequest
from wnodes.nameserver.config import NameserverAccess

TAGS = ("a_debian12_x86_64", "b_debian12_x86_64")
#: what a job asks for that wants a VM of the first image, on the first node, with room for more than one beside it
VM = "vm_" + TAGS[0]
VIRTUAL = ("-w", "hv1", "-C", VM, "--mem=100")
#: short, for nothing boots here
TIMERS: dict[str, Any] = {
    "poll_s": 0.5,
    "heartbeat_s": 1.0,
    "place_timeout_s": 8.0,
    "vm_timeout_s": 30.0,
    "join_timeout_s": 12.0,
    "backoff_s": 2.0,
    "max_attempts": 2,
}


@dataclass
class Hypervisor(FakeHypervisor):
    """VMs are as real as Slurm can tell: ``setup`` starts slurmd on a machine of the VM's name, ``destroy`` ends it."""

    slurm: PrivateSlurm | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)
    closed: bool = False

    def create(self, request: VmRequest) -> Vm:
        with self.changed:
            # names are used again, as leases are
            used = {vm.name for vm in self.vms.values() if vm.state is not VmState.GONE}
            self._next = next(n for n in range(100, 250) if f"vwn-{n}" not in used)
            return super().create(request)

    def _set(self, vm: Vm) -> Vm:
        with self.changed:
            self.changed.notify_all()
            return super()._set(vm)

    def setup(self, vm_id: str, setup: GuestSetup) -> None:
        super().setup(vm_id, setup)
        vm = self.get(vm_id)
        assert self.slurm is not None
        for file in setup.files:
            if file.path == "/etc/default/slurmd":
                options = re.match(r'SLURMD_OPTIONS="(.*)"\n', file.content)
                assert options is not None, file.content
                self.slurm.kill_machine(vm.name)
                self.slurm.start_vm(vm.name, vm.address, options.group(1))

    def destroy(self, vm_id: str) -> Vm:
        vm = self.get(vm_id)
        assert self.slurm is not None
        if vm.state is not VmState.GONE:
            self.slurm.kill_machine(vm.name)
        return super().destroy(vm_id)

    def boot(self, vm: Vm) -> None:
        """Let a VM be ready that is not by itself."""
        self.put(vm.id, VmState.READY)

    def events(self, after: int, timeout_s: float) -> tuple[VmEvent, ...]:
        with self.changed:
            self.changed.wait_for(lambda: self.closed or len(self.said) > after, timeout_s)
        return super().events(after, timeout_s)

    def close(self) -> None:
        """Let whoever waits for events go."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()


class Nameserver:
    """Takes heartbeats and keeps the last."""

    last: Heartbeat | None = None

    def beat(self, heartbeat: Heartbeat) -> None:
        self.last = heartbeat

    def heartbeats(self) -> tuple[Heartbeat, ...]:
        return (self.last,) if self.last else ()


@contextmanager
def stream(slurm: PrivateSlurm, node: str = "hv1") -> Iterator[None]:
    """Keep a node busy with short real jobs, so that its slurmd is asked to start something all the time."""
    stop = threading.Event()

    def submit() -> None:
        while not stop.wait(0.2):
            slurm.submit("-w", node, "--mem=10", user="bob", script="#!/bin/sh\n")

    thread = threading.Thread(target=submit)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)


@dataclass
class Site:
    """A cluster with a bait on one of its nodes."""

    slurm: PrivateSlurm
    bait: Bait
    hypervisor: Hypervisor
    nameserver: Nameserver

    def records(self, job_id: str) -> list[Job]:
        """Return what the bait knows of a job of Slurm's, oldest first."""
        return [job for job in self.bait.journal.all() if job.lrms_id == job_id]

    def state(self, job_id: str) -> JobState | None:
        """Return the state of the last record of a job; None if there is none."""
        records = self.records(job_id)
        return records[-1].state if records else None

    def passed(self, job_id: str, state: JobState) -> bool:
        """Tell whether any record of a job has come into a state."""
        return any(move.state == state.value for job in self.records(job_id) for move in job.history)

    def until_in(self, job_id: str, *states: JobState, limit_s: float = 30.0) -> Job:
        """Wait until the last record of a job is in one of ``states``, and return it."""
        names = ", ".join(state.value for state in states)
        try:
            until(f"job {job_id} in {names}", lambda: self.state(job_id) in states, limit_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.told(job_id)}") from None
        return self.records(job_id)[-1]

    def until_runs(self, job_id: str, count: int = 1, limit_s: float = 30.0) -> list[str]:
        """Wait until a job has begun ``count`` times, and return where."""
        try:
            until(f"run {count} of job {job_id}", lambda: len(self.slurm.runs(job_id)) >= count, limit_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.told(job_id)}") from None
        return self.slurm.runs(job_id)

    def bare(self, job_id: str) -> list[str]:
        """Return the nodes without a VM on which a job has begun."""
        return [node for node in self.slurm.runs(job_id) if node in NODES]

    def vms(self, *states: VmState) -> list[Vm]:
        """Return the VMs in ``states``, in the order of their making; all that were ever made where none is named."""
        return [vm for vm in self.hypervisor.vms.values() if not states or vm.state in states]

    def told(self, job_id: str) -> str:
        """Return what Slurm and the bait say of a job, for a test that fails."""
        shown = self.slurm.job(job_id)
        keys = ("JobState", "Reason", "Partition", "NodeList", "ReqNodeList", "Restarts", "AdminComment")
        records = [(job.state.value, job.attempt, job.reason) for job in self.records(job_id)]
        said = {key: shown.get(key) for key in keys}
        return (
            f"runs {self.slurm.runs(job_id)}; Slurm {said}; bait {records}; problems {self.bait.status()['problems']}"
        )


class NodeSlurm(Slurm):
    """The backend as on a node; slurmd's folder is where this process sees it."""

    def __init__(self, config: SlurmConfig, slurm: PrivateSlurm) -> None:
        super().__init__(config, slurm.runner)
        self._spool = str(slurm.spool(config.node))

    def _slurm_config(self) -> str:
        return re.sub(r"(?m)^(SlurmdSpoolDir\s*=\s*)\S+$", rf"\g<1>{self._spool}", super()._slurm_config())


@contextmanager
def baited(slurm: PrivateSlurm, node: str = "hv1", **settings: Any) -> Iterator[Site]:
    """Give a site whose bait works and has advertised its images.

    :param settings: of ``BaitConfig``
    """
    slurm_config = SlurmConfig(
        node=node, munge_key="", guest_accounts=False, adopt_dir=str(slurm.shared(node) / "adopt")
    )
    config = BaitConfig(node, slurm_config, NameserverAccess("https://head:8443"), **{**TIMERS, **settings})
    hypervisor = Hypervisor(tags=TAGS, now=time.time, slurm=slurm)
    nameserver, stop = Nameserver(), threading.Event()
    jobs = Journal(":memory:", Job, lambda job: job.state is JobState.CLOSED)
    pool, drains = Journal(":memory:", PoolVm, is_over), Journal(":memory:", Order, is_lifted)
    bait = Bait(config, NodeSlurm(slurm_config, slurm), hypervisor, nameserver, jobs, pool, drains)
    path = slurm.shared(node) / "hook.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(64)
        server = threading.Thread(target=HookSocket(listener, bait.dispatch).serve, args=(stop,))
        server.start()
        try:
            bait.start()
            until("the bait's images", lambda: VM in slurm.node(node).get("AvailableFeatures", ""))
            yield Site(slurm, bait, hypervisor, nameserver)
        finally:
            # what has to wait for a hook to end ends at once
            path.unlink()
            stop.set()
            bait.stop()
            hypervisor.close()
            server.join(30)
            for journal in (jobs, pool, drains):
                journal.close()
