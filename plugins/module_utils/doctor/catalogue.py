# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All checks, in the order in which they are made; docs/doctor.md has each of them."""

from __future__ import annotations

from typing import Any, Dict, Iterable, Tuple

from . import (
    clock,
    disk,
    host,
    libvirt,
    memory,
    names,
    network,
    services,
    slurm,
    slurm_jobs,
    slurm_places,
    virtualisation,
)
from .check import Check, CheckOutcome, Finding

CHECKS: Tuple[Check, ...] = (
    *host.CHECKS,
    *clock.CHECKS,
    *virtualisation.CHECKS,
    *libvirt.CHECKS,
    *network.CHECKS,
    *names.CHECKS,
    *disk.CHECKS,
    *slurm.CHECKS,
    *slurm_places.CHECKS,
    *slurm_jobs.CHECKS,
    *memory.CHECKS,
    *services.CHECKS,
)
#: subjects that the bait looks at for the head node, in its own sandbox; the others are the hypervisor's
OF_BAIT = ("slurm", "memory")


def worst_first(findings: Iterable[Finding]) -> Tuple[Finding, ...]:
    """Return findings with failures first, else in the order of the checks."""
    order = list(CheckOutcome)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.outcome)))


def counted(findings: Iterable[Finding]) -> Dict[str, Any]:
    """Return how many findings there are of each outcome."""
    outcomes = [finding.outcome for finding in findings]
    return {outcome.value: outcomes.count(outcome) for outcome in CheckOutcome}
