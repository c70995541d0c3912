# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics of jobs and VMs: how long each phase took, and how they ended.

Labels never name a person, a job or a host of a VM. What users choose (image, size) is bounded: see ShapeLabels.
"""

from __future__ import annotations

import threading

from prometheus_client import Counter, Histogram

from wnodes.model.job import Job
from wnodes.model.phases import AFTERWARDS, flavour, phases, vm_phases
from wnodes.model.resources import Resources
from wnodes.model.states import JobState, VmState
from wnodes.model.vm import Vm

#: seconds, from 10 ms to 10 min
BUCKETS = (0.01, 0.03, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600)
#: images, and pairs of image and flavour, that get labels of their own
MAX_IMAGES, MAX_FLAVOURS = 16, 16
OTHER, NONE = "other", "none"

_SHAPE = ("image", "flavour")


class ShapeLabels:
    """Labels of image and flavour. The first ones seen keep their names, all later ones are ``other``."""

    def __init__(self, images: int = MAX_IMAGES, flavours: int = MAX_FLAVOURS) -> None:
        self._limits = images, flavours
        self._lock = threading.Lock()
        self._images: set[str] = set()
        self._pairs: set[tuple[str, str]] = set()

    def fold(self, image: str, size: str) -> tuple[str, str]:
        """Return the labels of an image's tag and a flavour."""
        with self._lock:
            image = image or NONE
            if image not in self._images and len(self._images) >= self._limits[0]:
                return OTHER, OTHER
            self._images.add(image)
            if (image, size) not in self._pairs and len(self._pairs) >= self._limits[1]:
                return image, OTHER
            self._pairs.add((image, size))
            return image, size

    def of(self, tag: str, resources: Resources) -> tuple[str, str]:
        """Return the labels of what was asked for."""
        return self.fold(tag, flavour(resources))


class JobMetrics:
    """Figures of the jobs of one node: a job's start counts when it is RUNNING, the rest when it is CLOSED."""

    def __init__(self, node: str, shapes: ShapeLabels | None = None) -> None:
        self.node, self.shapes = node, shapes or ShapeLabels()
        shape = (*_SHAPE, "path", "node")
        self._phases = Histogram(
            "wnodes_job_phase_seconds", "What a phase of a job took", ("phase", *shape), buckets=BUCKETS, registry=None
        )
        self._starts = Histogram(
            "wnodes_job_start_seconds", "From a job's dispatch to its run on its VM", shape, buckets=BUCKETS,
            registry=None,
        )  # fmt: skip
        self._ends = Counter(
            "wnodes_jobs_total", "Jobs that are over", ("image", "outcome", "path", "node"), registry=None
        )
        self.collectors = (self._phases, self._starts, self._ends)

    def observe(self, job: Job) -> None:
        """Count a job that has just come into its state."""
        image, size = self.shapes.of(job.request.tag, job.request.resources)
        path = job.path or NONE
        at = {move.state: move.at for move in job.history}
        ran = JobState.RUNNING.value in at
        if job.state is JobState.RUNNING:
            spent = max(0.0, at[JobState.RUNNING.value] - at[JobState.RECEIVED.value])
            self._starts.labels(image, size, path, self.node).observe(spent)
        elif job.state is not JobState.CLOSED:
            return
        for phase, spent in phases(job).items():
            if job.state is JobState.RUNNING or not ran or phase in AFTERWARDS:
                self._phases.labels(phase, image, size, path, self.node).observe(spent)
        outcome = job.outcome
        if outcome is not None:
            self._ends.labels(image, outcome.value, path, self.node).inc()


class VmMetrics:
    """Figures of the VMs of one node; phases count when a VM is READY, the VM itself when it is GONE."""

    def __init__(self, node: str, shapes: ShapeLabels | None = None) -> None:
        self.node, self.shapes = node, shapes or ShapeLabels()
        shape = (*_SHAPE, "path", "node")
        self._phases = Histogram(
            "wnodes_vm_phase_seconds", "What a phase of a VM took until it was READY", ("phase", *shape),
            buckets=BUCKETS, registry=None,
        )  # fmt: skip
        self._ends = Counter("wnodes_vms_total", "VMs that are gone", (*shape, "outcome"), registry=None)
        self.collectors = (self._phases, self._ends)

    def observe(self, vm: Vm) -> None:
        """Count a VM that has just become READY or GONE."""
        labels = (*self.shapes.of(vm.request.tag, vm.request.resources), vm.path or NONE, self.node)
        if vm.state is VmState.GONE:
            self._ends.labels(*labels, vm_outcome(vm)).inc()
        elif [move.state for move in vm.history].count(VmState.READY.value) == 1:
            for phase, spent in vm_phases(vm).items():
                self._phases.labels(phase, *labels).observe(spent)


def vm_outcome(vm: Vm) -> str:
    """Return ``broken``, ``used``, ``unused`` (it was READY for nobody) or ``cancelled`` (it never was READY)."""
    states = {move.state for move in vm.history}
    for state, outcome in ((VmState.BROKEN, "broken"), (VmState.IN_USE, "used"), (VmState.READY, "unused")):
        if state.value in states:
            return outcome
    return "cancelled"
