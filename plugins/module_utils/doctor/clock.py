# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's clock: certificates, signatures and munge all compare times of different machines."""

from __future__ import annotations

from typing import Iterator

from ..model.errors import CommandFailed
from .check import Check, Finding, Wanted, failure, first_line, ok, skipped, warning
from .machine import Machine

#: seconds by which clocks may differ; the way of the question is part of it
WARN_S, FAIL_S = 5.0, 60.0
CURE = "let chrony or systemd-timesyncd keep the clock: `timedatectl timesync-status` or `chronyc tracking` tells"


def synchronised(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    try:
        state = machine.said("timedatectl", "show", "--property=NTPSynchronized", "--value")
    except CommandFailed as error:
        yield skipped("clock", f"timedatectl gave no answer: {first_line(error)}")
        return
    if state != "yes":
        yield warning("clock", f"synchronised: {state or 'unknown'}", "no time service keeps it right", CURE)
    yield ok("clock", "synchronised")


def difference(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    if wanted.now is None:
        yield skipped("clock", "there is no other clock to compare it with")
        return
    ahead = machine.now() - wanted.now
    seen = f"{abs(ahead):.1f} s {'ahead' if ahead > 0 else 'behind'}"
    if abs(ahead) > FAIL_S:
        reason = f"more than {FAIL_S:g} s: certificates may not be valid yet, and beyond 300 s munge refuses"
        yield failure("clock", seen, reason, CURE)
    elif abs(ahead) > WARN_S:
        yield warning("clock", seen, f"more than {WARN_S:g} s: times in logs and of jobs do not fit together", CURE)
    yield ok("clock", seen)


CHECKS = (
    Check("clock.synchronised", "whether something keeps the clock right", synchronised),
    Check("clock.difference", "this clock against that of the controller or head node", difference),
)
