# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes back what a service of this node has made elsewhere, once it has stopped for good.

``teardown bait [--check] [--closed REASON]`` removes our hosts, reservations and placeholders from the batch system,
withdraws the node's image tags, and opens the node if it was us who closed it; with ``--closed`` it stays closed.
``teardown hypervisor [--check]`` ends the domains that are ours.
Both print as JSON whether there was anything, and what; with ``--check`` they do nothing else.
``teardown bait --jobs`` only counts the jobs that are on the node, virtual ones and others: ``{"jobs": 2}``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from wnodes.bait.config import BaitConfig
from wnodes.engine.journal import Journal
from wnodes.hypervisor.config import HypervisorConfig
from wnodes.lrms.base import Lrms
from wnodes.lrms.slurm import Slurm
from wnodes.model.errors import StateError, WnodesError
from wnodes.model.job import Job
from wnodes.model.pool import PoolVm
from wnodes.virt.base import VmHost
from wnodes.virt.libvirt_host import LibvirtHost

from .bait_main import journals
from .config import load_or_exit

#: what is there, and how it is taken back
UndoStep = tuple[str, Callable[[], object]]


def bait(lrms: Lrms, jobs: Journal[Job], waiting: Journal[PoolVm], closed: str) -> Iterator[UndoStep]:
    """Yield what the batch system has of ours; the node's own state comes last.

    :param closed: why the node takes no jobs afterwards; empty: it does
    :raises StateError: a job is still under way; nobody would bring it to its end
    """
    under_way = [job.lrms_id for job in jobs.active()]
    if under_way:
        raise StateError(
            object="bait", value=f"jobs {', '.join(under_way)}", reason="has virtual jobs under way",
            hint="drain the node and wait until they are over",
        )  # fmt: skip
    for vm in waiting.active():
        if vm.host:
            yield f"host {vm.host}", partial(lrms.remove_host, vm.host)
    for key in lrms.placeholders():
        yield f"placeholder of {key}", partial(lrms.unplace, key)
    tags = lrms.advertised()
    if tags:
        yield f"image tags {', '.join(tags)}", partial(lrms.advertise, (), closed)


def jobs_there(lrms: Lrms, jobs: Journal[Job], node: str) -> int:
    """Return how many jobs are on the node: virtual ones under way, and others that the batch system runs there."""
    virtual = jobs.active()
    ours = {*lrms.placeholders().values(), *(job.lrms_id for job in virtual)}
    return len(virtual) + sum(job.id not in ours for job in lrms.jobs_on(node))


def hypervisor(host: VmHost) -> Iterator[UndoStep]:
    """Yield the domains that are ours; who knows them is gone with the service."""
    for domain in host.list():
        if domain.metadata is not None:
            yield f"domain {domain.name}", partial(host.destroy, domain.uuid)


def take(steps: Iterable[UndoStep], check: bool) -> list[str]:
    """Do the steps, or only look; return what there was."""
    done = []
    for what, do in list(steps):
        if not check:
            do()
        done.append(what)
    return done


def main(arguments: list[str]) -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser("teardown", description=__doc__.partition("\n")[0])
    parser.add_argument("service", choices=("bait", "hypervisor"))
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--jobs", action="store_true")
    parser.add_argument("--closed", metavar="REASON", default="")
    options = parser.parse_args(arguments)
    path = f"/etc/wnodes/{options.service}.yml"
    try:
        if options.service == "hypervisor":
            done = take(hypervisor(LibvirtHost(load_or_exit(HypervisorConfig, path).libvirt_uri)), options.check)
        else:
            config = load_or_exit(BaitConfig, path)
            lrms = Slurm(config.slurm)
            if options.jobs:
                print(json.dumps({"jobs": jobs_there(lrms, journals(config)[0], config.slurm.node)}))
                return
            done = take(bait(lrms, *journals(config)[:2], options.closed), options.check)
            if not options.check and lrms.advertise((), options.closed):
                done.append("the node's own state")
    except WnodesError as error:
        raise SystemExit(f"teardown: {error}") from None
    print(json.dumps({"changed": bool(done), "actions": done}))


if __name__ == "__main__":
    main(sys.argv[1:])
