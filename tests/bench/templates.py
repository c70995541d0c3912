# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of VMs that start from a template, on a private libvirt; no lab is needed."""

from __future__ import annotations

import os
import statistics
import threading
import time
from pathlib import Path

from tests.bench.figures import show
from tests.integration.conftest import LAB_IMAGE
from tests.integration.template_site import Site, started
from wnodes.image.manifest import read_release
from wnodes.model.image import CachedImage
from wnodes.model.resources import Resources
from wnodes.virt.template import Template

#: seconds for which a VM is watched doing nothing
IDLE_S = 20.0


def worker_image() -> CachedImage:
    """Return the lab's worker image, or that of ``WNODES_WORKER_IMAGE``."""
    release = read_release(os.environ.get("WNODES_WORKER_IMAGE", str(LAB_IMAGE)))
    image = release.claims().image(release.location)
    return CachedImage(image, image.disk.location, image.kernel.location, image.initrd.location)


def sizes(template: Template) -> dict[str, float]:
    """Return the MiB that each file of a template takes on disk."""
    return {path.name: round(path.stat().st_blocks / 2048, 1) for path in sorted(Path(template.folder).iterdir())}


def pss_mib(pids: list[int]) -> float:
    """Return the memory that processes have, shared pages divided among those who share them."""
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    return sum(int(rollup.split("\nPss:")[1].split()[0]) for rollup in rollups) / 1024


def waiting(site: Site, number: int) -> None:
    """What a VM that does nothing costs: its first minute is over, and nobody talks to it."""
    vm = site.vm(number)
    site.ready(vm)
    pids = site.libvirt.qemu_pids()
    pause = threading.Event()
    pause.wait(IDLE_S)
    busy = []
    for _look in range(3):
        before = site.host.cpu_seconds(vm.uuid)
        pause.wait(IDLE_S)
        busy.append(100 * (site.host.cpu_seconds(vm.uuid) - before) / IDLE_S)
    guest = site.overheads.guest(site.resources).memory_mib
    show("template_idle_cpu", busy, "% of a core", None)
    show("template_idle_pss", [pss_mib(pids)], "MiB", {"guest memory": guest})
    site.end(vm)


def template_restore(runs: int = 15) -> None:
    """A VM ready from a template, two others running, against the same VM booted cold."""
    with started(worker_image(), Resources(1, 512, 256)) as site:
        template = site.build()
        mib = sizes(template)
        waiting(site, 0)
        begun = time.perf_counter()
        site.boot(site.vm(1))
        cold = time.perf_counter() - begun
        site.end(site.vm(1))
        others = [site.vm(1), site.vm(2)]
        for vm in others:
            site.ready(vm)
        spent, phases = [], []
        for number in range(3, 3 + runs):
            vm = site.vm(number)
            begun = time.perf_counter()
            phases.append(site.ready(vm))
            spent.append(time.perf_counter() - begun)
            site.end(vm)
        for vm in others:
            site.end(vm)
    medians = {name: round(statistics.median(run[name] for run in phases), 3) for name in phases[0]}
    built = {name: round(seconds, 1) for name, seconds in template.description.seconds.items()}
    show("template_restore", spent, "s", {"cold boot": round(cold, 2)},
         running=len(others), phases=medians, built=built, mib=mib)  # fmt: skip
