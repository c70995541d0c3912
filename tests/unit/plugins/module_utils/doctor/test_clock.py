# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clocks."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.doctor.machine_fixture import NOW, Recorded, failing, node, only, outcomes
from wnodes.doctor.check import CheckOutcome


@pytest.mark.parametrize(
    ("ahead", "outcome", "seen"),
    [
        (4.0, CheckOutcome.OK, "4.0 s ahead"),
        (-30.0, CheckOutcome.WARNING, "30.0 s behind"),
        (61.0, CheckOutcome.FAILURE, "61.0 s ahead"),
    ],
)
def test_clocks_that_differ_are_judged_by_how_much(ahead: float, outcome: CheckOutcome, seen: str) -> None:
    found = outcomes(Recorded(), node(now=NOW - ahead))["clock.difference"]
    assert (found.outcome, found.value) == (outcome, seen)


def test_without_another_clock_nothing_is_compared() -> None:
    assert outcomes(Recorded(), node(now=None))["clock.difference"].outcome is CheckOutcome.SKIPPED


def test_a_clock_that_nothing_keeps_is_a_warning() -> None:
    machine = Recorded()
    machine.says["timedatectl"] = "no"
    assert "chrony" in only(machine, node(), "clock.synchronised").hint
    machine.says["timedatectl"] = failing("exit code 1: System has not been booted with systemd\nmore")
    found = outcomes(machine, node())["clock.synchronised"]
    assert found.reason.endswith("booted with systemd")
    assert found.outcome is CheckOutcome.SKIPPED
