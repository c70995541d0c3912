# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people are told of a job."""

from __future__ import annotations

import pytest

from wnodes.bait.explain import explain
from wnodes.model.job import Hold, Job, JobRequest
from wnodes.model.resources import Resources
from wnodes.model.states import JobState
from wnodes.model.vm import Move

REQUEST = JobRequest("worker_debian12_x86_64", Resources(1, 512))


def told(state: JobState, reason: str) -> dict[str, object]:
    history = (Move("RECEIVED", 1.0), Move(state.value, 2.0))
    return explain(Job("r1", "7", "alice", 2001, REQUEST, state, history, reason=reason), 3.0)


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.CLOSED])
def test_each_state_says_what_it_waits_for(state: JobState) -> None:
    assert told(state, "")["waits_for"]


def test_what_a_console_said_is_no_part_of_the_reason() -> None:
    found = told(JobState.HELD, "VM r1: did not boot\nconsole:\nBooting\nKernel panic")
    assert (found["reason"], found["console"]) == ("VM r1: did not boot", "Booting\nKernel panic")
    found = told(JobState.HELD, "no room")
    assert (found["reason"], found["console"]) == ("no room", "")


@pytest.mark.parametrize(
    ("hold", "who"), [(Hold.NOBODY, "batch system"), (Hold.OWNER, "its owner"), (Hold.ADMINISTRATOR, "administrator")]
)
def test_a_returned_job_waits_for_whoever_holds_it(hold: Hold, who: str) -> None:
    history = tuple(Move(state, 1.0) for state in ("RECEIVED", "RETURNED", "CLOSED"))
    job = Job("r1", "7", "alice", 2001, REQUEST, JobState.CLOSED, history, hold=hold)
    assert who in explain(job, 3.0)["waits_for"]


def test_a_job_that_waits_for_a_limit_says_so_with_the_batch_systems_word() -> None:
    job = Job("r1", "7", "alice", 2001, REQUEST, JobState.HELD, (Move("HELD", 1.0),), limit="Licenses")
    assert explain(job, 3.0, "Licenses")["waits_for"] == "others of its kind, whose limit it is (Licenses)"
