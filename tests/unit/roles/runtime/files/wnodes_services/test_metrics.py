# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What jobs and VMs leave behind in figures, under labels that nobody can make grow without end."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from prometheus_client.registry import Collector

from wnodes.model.job import Job, JobRequest
from wnodes.model.phases import RELEASED
from wnodes.model.resources import Resources
from wnodes.model.states import JobState, VmState
from wnodes.model.vm import Move, Vm, VmRequest
from wnodes_services.metrics import JobMetrics, ShapeLabels, VmMetrics, vm_outcome

TAG = "worker_debian12_x86_64"
WAY = ("RECEIVED", "HELD", "VM_REQUESTED", "VM_READY", "MIGRATING", "RUNNING", "FINISHED", "CLOSED")


def samples(collectors: Iterable[Collector]) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Return labels and value of each series by name; those that nothing was counted in are left out."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for collector in collectors:
        for family in collector.collect():
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def job(*states: str, path: str = "cold", **values: object) -> Job:
    """Return a job that spent 10 s in each state."""
    history = tuple(Move(state, 10.0 * index) for index, state in enumerate(states))
    request = JobRequest(TAG, Resources(2, 512))
    return Job("r1", "17", "alice", 2001, request, JobState(states[-1]), history, path=path, **values)  # type: ignore[arg-type]


def vm(*states: str, path: str = "restore") -> Vm:
    history = tuple(Move(state, 10.0 * index) for index, state in enumerate(states))
    return Vm(VmRequest("r1", "alice", TAG, Resources(2, 512)), VmState(states[-1]), history, path=path)


def test_a_job_leaves_its_start_when_it_runs_and_the_rest_when_it_is_over() -> None:
    metrics = JobMetrics("hv1")
    known = {"moments": {RELEASED: 43.0}, "vm_seconds": {"vm_start": 6.0}}
    for steps in range(1, len(WAY) + 1):
        metrics.observe(job(*WAY[:steps], **known))
        seen = {
            labels["phase"] for labels, _value in samples(metrics.collectors).get("wnodes_job_phase_seconds_sum", [])
        }
        assert bool(seen) == (steps > WAY.index("RUNNING"))
        assert ("cleanup" in seen) == (steps == len(WAY))
    found = samples(metrics.collectors)
    shape = {"image": TAG, "flavour": "2x512", "path": "cold", "node": "hv1"}
    spent = {labels["phase"]: value for labels, value in found["wnodes_job_phase_seconds_sum"]}
    assert spent == {"hook": 10, "hold": 10, "vm_start": 6, "join": 10, "pin": 3, "second_dispatch": 7, "cleanup": 10}
    assert all({**labels, **shape} == labels for labels, _value in found["wnodes_job_phase_seconds_sum"])
    assert found["wnodes_job_start_seconds_sum"] == [(shape, 50.0)]
    assert found["wnodes_jobs_total"] == [({"image": TAG, "outcome": "FINISHED", "path": "cold", "node": "hv1"}, 1.0)]


def test_a_job_that_never_ran_has_an_end_but_no_start() -> None:
    metrics = JobMetrics("hv1")
    metrics.observe(job("RECEIVED", "REFUSED", "CLOSED", path=""))
    found = samples(metrics.collectors)
    assert "wnodes_job_start_seconds_sum" not in found
    assert found["wnodes_jobs_total"][0][0] == {"image": TAG, "outcome": "REFUSED", "path": "none", "node": "hv1"}


def test_neither_people_nor_jobs_nor_hosts_of_vms_are_named() -> None:
    jobs, vms = JobMetrics("hv1"), VmMetrics("hv1")
    jobs.observe(job(*WAY, host="vwn-100", address="10.0.0.1", name="secret"))
    vms.observe(vm("PLANNED", "IMAGE", "STARTING", "PERSONALISING", "READY"))
    vms.observe(vm("PLANNED", "RECYCLING", "GONE"))
    found = samples((*jobs.collectors, *vms.collectors))
    told = {name for series in found.values() for labels, _value in series for name in labels}
    assert told == {"phase", "image", "flavour", "path", "node", "outcome", "le"}
    values = {value for series in found.values() for labels, _value in series for value in labels.values()}
    assert values & {"alice", "17", "r1", "vwn-100", "10.0.0.1", "secret"} == set()


def test_a_vm_leaves_its_phases_when_it_is_ready_and_its_end_when_it_is_gone() -> None:
    metrics = VmMetrics("hv1")
    up = ("PLANNED", "IMAGE", "STARTING", "PERSONALISING", "READY")
    metrics.observe(vm(*up))
    spent = {labels["phase"]: value for labels, value in samples(metrics.collectors)["wnodes_vm_phase_seconds_sum"]}
    assert spent == dict.fromkeys(("lease", "image", "vm_start", "personalise"), 10.0)
    metrics.observe(vm(*up, "IN_USE", "RECYCLING", "GONE"))
    found = samples(metrics.collectors)
    assert sum(value for _labels, value in found["wnodes_vm_phase_seconds_count"]) == 4
    labels = {"image": TAG, "flavour": "2x512", "path": "restore", "node": "hv1", "outcome": "used"}
    assert found["wnodes_vms_total"] == [(labels, 1.0)]


def test_a_recycled_vm_that_is_ready_again_does_not_count_its_start_twice() -> None:
    metrics = VmMetrics("hv1")
    metrics.observe(vm("PLANNED", "IMAGE", "STARTING", "PERSONALISING", "READY", "IN_USE", "RECYCLING", "READY"))
    assert samples(metrics.collectors) == {}


@pytest.mark.parametrize(
    ("states", "outcome"),
    [
        (("PLANNED", "READY", "IN_USE", "RECYCLING", "GONE"), "used"),
        (("PLANNED", "READY", "RECYCLING", "GONE"), "unused"),
        (("PLANNED", "IMAGE", "RECYCLING", "GONE"), "cancelled"),
        (("PLANNED", "READY", "IN_USE", "BROKEN", "RECYCLING", "GONE"), "broken"),
    ],
)
def test_how_a_vm_ended(states: tuple[str, ...], outcome: str) -> None:
    assert vm_outcome(vm(*states)) == outcome


def test_sizes_that_users_invent_become_other_and_images_keep_their_names() -> None:
    shapes = ShapeLabels(images=2, flavours=3)
    assert [shapes.fold("a", str(size)) for size in range(5)] == [
        ("a", "0"),
        ("a", "1"),
        ("a", "2"),
        ("a", "other"),
        ("a", "other"),
    ]
    assert shapes.fold("b", "0") == ("b", "other")
    assert shapes.fold("c", "0") == ("other", "other")
    assert shapes.fold("a", "1") == ("a", "1")
    assert shapes.fold("", "1") == ("other", "other")


def test_what_asked_for_no_image_that_can_be_read_is_none() -> None:
    assert ShapeLabels().fold("", "1x512") == ("none", "1x512")


def test_a_thousand_shapes_make_a_bounded_number_of_series() -> None:
    metrics = JobMetrics("hv1")
    for number in range(1000):
        request = JobRequest(f"i{number}_o_a", Resources(1, 100 + number))
        history = (Move("RECEIVED", 0.0), Move("CANCELLED", 1.0), Move("CLOSED", 2.0))
        metrics.observe(Job(f"r{number}", "1", "u", 1, request, JobState.CLOSED, history))
    assert len(samples(metrics.collectors)["wnodes_jobs_total"]) == 17
