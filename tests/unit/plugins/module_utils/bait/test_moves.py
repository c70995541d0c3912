# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is stored of a job, and who may move it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.plugins.module_utils.bait.bait_fixture import Site
from wnodes.bait.moves import Moves
from wnodes.engine.journal import Outdated
from wnodes.model.states import JobState
from wnodes.model.vm import Vm, VmRequest


def test_a_step_does_not_undo_what_others_have_done_meanwhile() -> None:
    site = Site()
    site.hypervisor.auto_ready = False
    number, _ = site.dispatch()
    site.run(3)
    moves: Moves = site.bait.journey
    old = site.job(number)
    moves.leave(old, "somebody took it")
    with pytest.raises(Outdated):
        moves.put(replace(old, name="late"))
    with pytest.raises(Outdated):
        moves.move(old, JobState.VM_READY)
    assert (site.job(number).state, site.job(number).name) == (JobState.RETURNED, old.name)


def test_that_something_was_moved_meanwhile_is_no_error_of_a_step() -> None:
    site = Site()
    number, _ = site.dispatch()
    while site.job(number).state is not JobState.VM_REQUESTED:
        site.bait.journey.step(site.job(number).id)
    create = site.hypervisor.create

    def slow(request: VmRequest) -> Vm:
        site.bait.journey.leave(site.job(number), "it was dispatched again")
        return create(request)

    site.hypervisor.create = slow  # type: ignore[method-assign]
    assert site.bait.journey.step(site.job(number).id) == 0.0
    site.hypervisor.create = create  # type: ignore[method-assign]
    site.run(5)
    assert site.job(number).outcome is JobState.RETURNED
    assert site.bait.jobs()[0]["error"] == ""
