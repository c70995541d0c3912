# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of a node, counted by image."""

from __future__ import annotations

from wnodes.bait.faults import TOLERATED, Faults
from wnodes.model.clock import FakeClock


def test_some_failures_are_tolerated_then_pauses_grow_and_a_success_ends_it() -> None:
    clock = FakeClock()
    faults = Faults(clock, (30.0, 100.0))
    pauses = []
    for _ in range(TOLERATED + 3):
        faults.failed("a", "no init found")
        pauses.append(faults.wait_s("a"))
    assert pauses == [0.0, 0.0, 30.0, 60.0, 100.0, 100.0]
    assert faults.wait_s("b") == 0.0
    assert "6 VMs failed in a row on this node, the last one: no init found" in faults.problems()[0]
    clock.advance(100)
    assert faults.wait_s("a") == 0.0
    faults.succeeded("a")
    assert faults.problems() == ()
