# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check is, and what it finds. A check changes nothing and ends in time; it never ends the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Callable, Iterable, Iterator, List, Optional, Tuple

from ..bait.config import BaitConfig
from ..hypervisor.config import HypervisorConfig
from ..model.errors import WnodesError
from ..nameserver.config import NameserverConfig
from .machine import Machine

HEAD, NODE = "head", "node"


class CheckOutcome(str, Enum):
    """What came of a check, worst first."""

    FAILURE = "failure"
    WARNING = "warning"
    SKIPPED = "skipped"
    OK = "ok"


@dataclass(frozen=True)
class Finding:
    """What a check found.

    :param check: name of the check, ``<subject>.<what>``
    :param object: what it is about
    :param value: what was seen
    :param reason: why that is no good, or why nothing could be seen
    :param hint: the cure
    """

    outcome: CheckOutcome
    object: str
    value: str = ""
    reason: str = ""
    hint: str = ""
    check: str = ""

    def __str__(self) -> str:
        return str(WnodesError(object=self.object, value=self.value, reason=self.reason, hint=self.hint))


def ok(object: str, value: str = "") -> Finding:
    """Return that all is well."""
    return Finding(CheckOutcome.OK, object, value)


def warning(object: str, value: str, reason: str, hint: str) -> Finding:
    """Return what works, but not as well as it could."""
    return Finding(CheckOutcome.WARNING, object, value, reason, hint)


def failure(object: str, value: str, reason: str, hint: str) -> Finding:
    """Return what keeps jobs from their VMs, now or one day."""
    return Finding(CheckOutcome.FAILURE, object, value, reason, hint)


def skipped(object: str, reason: str, hint: str = "") -> Finding:
    """Return that there was nothing to look at."""
    return Finding(CheckOutcome.SKIPPED, object, "", reason, hint)


def of_error(error: WnodesError) -> Finding:
    """Return an error as the failure that it is."""
    return failure(error.object, error.value, error.reason, error.hint)


def first_line(error: WnodesError) -> str:
    """Return an error's reason without what a program has added to its first line."""
    return error.reason.strip().partition("\n")[0]


@dataclass(frozen=True)
class Wanted:
    """What the machine shall be, as its configuration says.

    :param role: HEAD or NODE
    :param running: whether the services are installed; before that, what the roles bring is not missed
    :param uplink: device that becomes part of the bridge; empty: the bridge is there, or the device is not known
    :param now: the time by another clock, a moment before the checks are made, in seconds since the epoch
    :param broken: configuration files that can't be used
    """

    role: str
    running: bool
    hypervisor: Optional[HypervisorConfig] = None
    bait: Optional[BaitConfig] = None
    nameserver: Optional[NameserverConfig] = None
    uplink: str = ""
    now: Optional[float] = None
    broken: Tuple[WnodesError, ...] = ()


Look = Callable[[Machine, Wanted], Iterable[Finding]]


@dataclass(frozen=True)
class Check:
    """One thing that is looked at.

    :param name: ``<subject>.<what>``
    :param about: what it looks at, in a few words
    :param look: yields findings; what it raises is a failure
    :param on: the roles of machines it is for
    :param running: True: only where the services are installed; False: only before; None: always
    """

    name: str
    about: str
    look: Look
    on: Tuple[str, ...] = (HEAD, NODE)
    running: Optional[bool] = None

    @property
    def subject(self) -> str:
        """The part of the name before the dot."""
        return self.name.partition(".")[0]

    def fits(self, wanted: Wanted) -> bool:
        """Whether there is something to look at on such a machine."""
        return wanted.role in self.on and self.running in (None, wanted.running)

    def findings(self, machine: Machine, wanted: Wanted) -> Tuple[Finding, ...]:
        """Look; return at least one finding."""
        found: List[Finding] = []
        try:
            found.extend(self.look(machine, wanted))
        except WnodesError as error:
            found.append(of_error(error))
        except Exception as error:  # whatever a machine says that nobody expected: the other checks matter
            reason = f"could not be looked at: {type(error).__name__}: {error}"
            found.append(failure(self.about, "", reason, "please report it: the check should have said what is wrong"))
        # what is well besides is of no use to somebody who looks for what is not
        telling = [finding for finding in found if finding.outcome is not CheckOutcome.OK] or found or [ok(self.about)]
        return tuple(replace(finding, check=self.name) for finding in telling)


def examine(
    checks: Iterable[Check], machine: Machine, wanted: Wanted, begin: Callable[[Check], None] = lambda check: None
) -> Iterator[Finding]:
    """Yield what the checks that fit find.

    :param begin: called before each one
    """
    for check in checks:
        if check.fits(wanted):
            begin(check)
            yield from check.findings(machine, wanted)
