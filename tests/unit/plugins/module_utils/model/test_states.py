# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wnodes.model.errors import StateError
from wnodes.model.job import Job, JobRequest
from wnodes.model.resources import Resources
from wnodes.model.states import (
    JOB_BEFORE_RUNNING,
    JOB_MOVES,
    POOL_MOVES,
    VM_MOVES,
    JobState,
    PoolState,
    VmState,
    check_move,
)
from wnodes.model.vm import Move


@pytest.mark.parametrize("table", [JOB_MOVES, VM_MOVES, POOL_MOVES])
def test_every_state_is_in_its_table(table: dict[object, frozenset[object]]) -> None:
    states = {type(state) for state in table}.pop()
    assert set(table) == set(states)


def test_every_job_can_be_cancelled_or_has_ended() -> None:
    ends = {JobState.FINISHED, JobState.CANCELLED, JobState.RETURNED, JobState.REFUSED, JobState.CLOSED}
    for state in set(JobState) - ends:
        assert JobState.CANCELLED in JOB_MOVES[state]


def test_before_running_a_job_may_be_returned_or_refused() -> None:
    for state in JOB_BEFORE_RUNNING:
        assert {JobState.RETURNED, JobState.REFUSED} <= JOB_MOVES[state]


def test_every_vm_can_break_or_be_taken_away_until_it_is_gone() -> None:
    for state in set(VmState) - {VmState.GONE, VmState.BROKEN, VmState.RECYCLING}:
        assert {VmState.BROKEN, VmState.RECYCLING} <= VM_MOVES[state]


def test_every_waiting_vm_can_leave_and_only_from_there_or_by_a_job_it_is_gone() -> None:
    for state in set(PoolState) - {PoolState.LEAVING, PoolState.GONE}:
        assert PoolState.LEAVING in POOL_MOVES[state]
    assert {state for state, after in POOL_MOVES.items() if PoolState.GONE in after} == {
        PoolState.LEAVING,
        PoolState.TAKEN,
    }


def test_a_move_outside_the_table_names_what_is_allowed() -> None:
    with pytest.raises(StateError) as raised:
        check_move(JobState.CLOSED, JobState.RUNNING, "job 7")
    assert raised.value.object == "job 7"
    assert "it is an end" in raised.value.hint


@given(choices=st.lists(st.integers(min_value=0, max_value=99), max_size=20))
def test_any_walk_keeps_its_history_and_its_seconds(choices: list[int]) -> None:
    request = JobRequest("a_b_c", Resources(1, 1))
    job = Job("id", "1", "u", 1, request, JobState.RECEIVED, (Move("RECEIVED", 0.0),))
    at = 0.0
    for choice in choices:
        allowed = sorted(JOB_MOVES[job.state], key=str)
        if not allowed:
            break
        at += 1
        job = job.moved(allowed[choice % len(allowed)], at)
    assert [move.at for move in job.history] == sorted(move.at for move in job.history)
    assert sum(job.seconds(at).values()) == at
    assert (job.outcome is None) == (job.state is not JobState.CLOSED)
