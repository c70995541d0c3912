# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people are told of a job."""

from __future__ import annotations

import pytest

from wnodes.bait.explain import explain
from wnodes.model.job import Job, JobRequest
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
