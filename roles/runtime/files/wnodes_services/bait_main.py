# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wnodes-bait: the virtual jobs of this node. The hook's socket is systemd's; people ask on another one."""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request

from wnodes import support
from wnodes.bait import statics
from wnodes.bait.config import BaitConfig
from wnodes.bait.drain import DrainWish, Order, is_lifted
from wnodes.bait.hooksocket import HookSocket
from wnodes.bait.pool import is_over
from wnodes.bait.rules import Rules
from wnodes.bait.rulesfile import check_node
from wnodes.bait.service import Bait
from wnodes.engine.journal import Journal
from wnodes.engine.pulse import Pulse
from wnodes.hypervisor.client import HypervisorClient
from wnodes.lrms.slurm import Slurm
from wnodes.model.clock import Clock, Failpoints
from wnodes.model.errors import NotFoundError
from wnodes.model.job import Job
from wnodes.model.pool import PoolVm
from wnodes.model.states import JobState
from wnodes.nameserver.client import NameserverClient

from . import doctor, edge, systemd
from .metrics import NONE, JobMetrics
from .rules import load_rules
from .server import Entrance, Program, Tls, local_sockets, main, unix_socket

log = logging.getLogger(__name__)

HOOK = "hook"
#: seconds without a look at the hook's socket after which all jobs of the node wait for nothing
HOOK_LIMIT_S = 30.0

edge.strict(DrainWish)


def visible(request: Request) -> list[dict[str, Any]]:
    """Return the jobs the caller may see: all of them to root, else its own (a dependency)."""
    bait: Bait = request.app.state.bait
    who = edge.peer(request)
    root = edge.is_root(who)
    return [job for job in bait.jobs() if root or (who.uid is not None and job["uid"] == who.uid)]


Jobs = Annotated[list[dict[str, Any]], Depends(visible)]
router = edge.router()
root_only = [Depends(edge.root_only)]


@router.get("/jobs")
def jobs(mine: Jobs) -> list[dict[str, Any]]:
    """Return the jobs, oldest first."""
    return mine


@router.get("/jobs/{key}")
def job(mine: Jobs, key: str) -> dict[str, Any]:
    """Return a job by our id, or the last one of an LRMS's id; somebody else's job is not found."""
    for known in reversed(mine):
        if key in (known["id"], known["lrms_id"]):
            return known
    raise NotFoundError(object=f"job {key}", reason="is not known here", hint="it asked for no VM, or is long over")


@router.get("/status")
def status(request: Request, mine: Jobs) -> dict[str, Any]:
    """Return how the bait is, with the jobs the caller may see."""
    bait: Bait = request.app.state.bait
    now = bait.status()
    problems = [*now["problems"], *request.app.state.pulse.problems()]
    return {**now, "problems": problems, "host": bait.config.host, "jobs": mine}


@router.get("/doctor", dependencies=root_only)
def checks() -> dict[str, Any]:
    """Return what the checks of this machine find that the bait can make."""
    return doctor.report("bait", edge.VERSION)


@router.get("/bundle", dependencies=root_only)
def bundle(request: Request) -> dict[str, str]:
    """Return the bait's part of a support bundle."""
    bait: Bait = request.app.state.bait
    return support.collect({**edge.evidence("wnodes-bait.service", "wnodes-hook.socket"), **bait.evidence()})


@router.post("/drain", dependencies=root_only)
def drain(request: Request, body: DrainWish) -> dict[str, Any]:
    """Let the node take no more jobs."""
    bait: Bait = request.app.state.bait
    return bait.drain(body, edge.root_of(request))


@router.post("/undrain", dependencies=root_only)
def undrain(request: Request) -> dict[str, Any]:
    """Let the node take jobs again."""
    bait: Bait = request.app.state.bait
    return bait.undrain()


def application(
    bait: Bait,
    metrics: JobMetrics | None = None,
    pulse: Pulse | None = None,
    answers: Callable[[], dict[str, int]] = dict,
) -> FastAPI:
    """Return what a bait tells over HTTP.

    :param metrics: figures of the jobs that are over
    :param pulse: what drives the bait
    :param answers: returns the hooks' questions since the start by what became of them
    """
    over = metrics or JobMetrics(bait.config.host)
    app = edge.application("bait")
    app.state.bait, app.state.pulse = bait, pulse or Pulse()
    app.include_router(router)

    def figures() -> Iterable[edge.Sample]:
        now = bait.status()
        yield "wnodes_bait_ok", "1 if the node takes virtual jobs", {}, float(now["ok"])
        for state, count in Counter(job.state.value for job in bait.journal.all()).items():
            yield "wnodes_jobs", "Jobs in the journal, by state", {"state": state}, count
        yield "wnodes_jobs_limited", "Jobs that wait for a limit of the batch system", {}, bait.limited()
        yield "wnodes_bare_runs_total", "Virtual jobs that began on the node itself", {}, bait.bare.count
        for image, count in bait.journey.faults.counts().items():
            labels = {"image": over.shapes.fold(image, NONE)[0]}
            yield "wnodes_image_faults", "VMs that failed in a row before their job began", labels, count
        for answer, count in answers().items():
            yield "wnodes_hook_answers_total", "Hooks by what they were told", {"answer": answer}, count
        yield from pool_figures(now.get("pool", ()), over)

    edge.metrics(app, figures, over.collectors, over.node, app.state.pulse)
    return app


def pool_figures(pool: Iterable[dict[str, Any]], metrics: JobMetrics) -> Iterable[edge.Sample]:
    """Yield how many VMs wait for a job, and how many should, by image and flavour."""
    waiting: Counter[tuple[str, str]] = Counter()
    target: Counter[tuple[str, str]] = Counter()
    for shape in pool:
        key = metrics.shapes.fold(shape["tag"], shape["flavour"])
        waiting[key] += shape["waiting"]
        target[key] += shape["target"]
    for (image, flavour), count in waiting.items():
        labels = {"image": image, "flavour": flavour}
        yield "wnodes_pool_waiting", "VMs that wait for a job", labels, count
        yield "wnodes_pool_target", "VMs that should wait for a job", labels, target[image, flavour]


def node_rules(config: BaitConfig) -> Rules:
    """Return the site's rules.

    :raises ConfigError: their file is broken, or says what can't hold on this node
    """
    if not config.rules:
        return Rules()
    rules = load_rules(config.rules)
    check_node(config.rules, rules, [mount.target for mount in config.mounts], config.pool.offer)
    return rules


def journals(config: BaitConfig) -> tuple[Journal[Job], Journal[PoolVm], Journal[Order]]:
    """Return what the bait knows of jobs, of VMs that wait, and of orders to drain its node."""
    folder = os.path.join(config.state_dir, "bait")
    jobs = Journal(os.path.join(folder, "journal.sqlite"), Job, lambda job: job.state is JobState.CLOSED)
    drains = Journal(os.path.join(folder, "drain.sqlite"), Order, is_lifted, keep=20)
    return jobs, Journal(os.path.join(folder, "pool.sqlite"), PoolVm, is_over), drains


def build(config: BaitConfig, clock: Clock, failpoints: Failpoints) -> Program:
    """Return the program around the real batch system."""
    directory = NameserverClient.connect(config.nameserver, "bait")
    hypervisor = HypervisorClient.local(os.path.join(config.run_dir, "hypervisor.sock"))
    metrics = JobMetrics(config.host)
    seams = (Slurm(config.slurm), hypervisor, directory)
    rules = node_rules(config)
    statics.leave(config.state_dir, rules, config.slurm.own_partitions)
    bait = Bait(config, *seams, *journals(config), clock, failpoints, metrics.observe, rules)
    hook = systemd.activated(HOOK)
    if hook is None:
        log.warning("systemd does not hold the socket of the hook: jobs will notice a restart of the bait")
        hook = unix_socket(os.path.join(config.run_dir, "hook.sock"), 0o600)
    pulse, stop_hook = bait.pulse, threading.Event()
    hooks = HookSocket(hook, bait.dispatch, pulse.loop(HOOK, HOOK_LIMIT_S))

    def start() -> None:
        bait.start()
        threading.Thread(target=hooks.serve, args=(stop_hook,), name="hooks", daemon=True).start()

    def stop() -> None:
        stop_hook.set()
        bait.stop()

    def listen() -> list[Entrance]:
        return local_sockets(os.path.join(config.run_dir, "bait.sock"))

    tls = Tls.of("bait", config.nameserver.pki_dir)
    app = application(bait, metrics, pulse, lambda: hooks.answers)
    return Program(app, listen, start, stop, config.metrics_listen, config.manage_listen, tls, pulse)


if __name__ == "__main__":
    main("bait", BaitConfig, build, node_rules)
