# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from wnodes.model.job import Job, JobRequest
from wnodes.model.phases import ENDED, PHASES, QUEUED, RELEASED, flavour, phases, vm_phases
from wnodes.model.resources import Resources
from wnodes.model.states import JobState, VmState
from wnodes.model.vm import Move, Vm, VmRequest

SIZE = Resources(1, 512)


def job(*history: tuple[JobState, float], **values: object) -> Job:
    moves = tuple(Move(state.value, at) for state, at in history)
    known = {"id": "r1", "lrms_id": "17", "user": "alice", "uid": 1000, "request": JobRequest("worker", SIZE)}
    return Job(**{**known, "state": history[-1][0], "history": moves, **values})  # type: ignore[arg-type]


def test_a_finished_job_tells_each_phase_in_the_order_in_which_they_happen() -> None:
    states = [
        JobState.RECEIVED, JobState.HELD, JobState.VM_REQUESTED, JobState.VM_READY,
        JobState.MIGRATING, JobState.RUNNING, JobState.FINISHED, JobState.CLOSED,
    ]  # fmt: skip
    done = job(
        *((state, 100.0 + 10 * index) for index, state in enumerate(states)),
        moments={QUEUED: 98.0, RELEASED: 143.0, ENDED: 159.5},
        vm_seconds={"vm_start": 6.0, "lease": 1.0},
    )
    spent = phases(done)
    assert spent == {
        "dispatch": 2.0, "hook": 10.0, "hold": 10.0, "lease": 1.0, "vm_start": 6.0,
        "join": 10.0, "pin": 3.0, "second_dispatch": 7.0, "end": 0.5, "cleanup": 10.0,
    }  # fmt: skip
    assert list(spent) == [name for name in PHASES if name in spent]


def test_a_job_whose_vm_was_there_before_it_is_held_until_it_goes_there() -> None:
    there = job((JobState.RECEIVED, 100.0), (JobState.HELD, 101.0), (JobState.MIGRATING, 101.5))
    assert phases(there) == {"hook": 1.0, "hold": 0.5}


def test_what_is_not_over_or_never_happened_is_left_out() -> None:
    assert phases(job((JobState.RECEIVED, 100.0), (JobState.HELD, 101.0))) == {"hook": 1.0}


def test_clocks_that_disagree_give_no_negative_seconds() -> None:
    assert phases(job((JobState.RECEIVED, 100.0), moments={QUEUED: 100.7})) == {"dispatch": 0.0}


def test_a_vm_tells_what_it_spent_on_its_way_to_ready() -> None:
    states = [VmState.PLANNED, VmState.IMAGE, VmState.STARTING, VmState.PERSONALISING, VmState.READY]
    history = tuple(Move(state.value, 10.0 * index) for index, state in enumerate(states))
    request = VmRequest("r1", "alice", "worker", SIZE)
    assert vm_phases(Vm(request, VmState.READY, history)) == dict.fromkeys(
        ("lease", "image", "vm_start", "personalise"), 10.0
    )
    assert vm_phases(Vm(request, VmState.IMAGE, history[:2])) == {"lease": 10.0}


def test_a_flavour_is_one_word() -> None:
    assert flavour(SIZE) == "1x512"
    assert flavour(Resources(2, 4096, 1024)) == "2x4096x1024"
