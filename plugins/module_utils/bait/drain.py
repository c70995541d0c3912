# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order that this node takes no more jobs: on disk before anything is done about it, and there until it is lifted.

A drained node is no node with a problem: it is closed because somebody wanted that.
"""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, replace
from typing import Any, Dict, Optional

from ..engine.journal import Journal
from ..model.clock import Clock
from ..model.errors import RequestError

WAIT, REQUEUE = "wait", "requeue"
#: what becomes of jobs that still run at the deadline
THEN = (WAIT, REQUEUE)
MAX_REASON = 120


@dataclass(frozen=True)
class DrainWish:
    """What an administrator wants.

    :param reason: for people, also in the batch system
    :param deadline_s: how long jobs that run may go on, in seconds; None: as long as they want
    :param then: what becomes of them after it: ``wait`` (they go on, but the node is told to be late) or ``requeue``
    """

    reason: str
    deadline_s: Optional[float] = None
    then: str = WAIT

    def check(self) -> None:
        """Raise RequestError for what makes no sense."""
        if not self.reason.strip() or not self.reason.isprintable() or len(self.reason) > MAX_REASON:
            raise RequestError(
                object="drain: reason", value=repr(self.reason[:MAX_REASON]),
                reason=f"must be a line of 1 to {MAX_REASON} characters", hint="it tells others why the node is closed",
            )  # fmt: skip
        if self.deadline_s is not None and not 0 < self.deadline_s < float("inf"):
            raise RequestError(
                object="drain: deadline_s", value=str(self.deadline_s), reason="must be more than 0 (seconds), or none"
            )
        if self.then not in THEN:
            raise RequestError(object="drain: then", value=repr(self.then), reason=f"must be {' or '.join(THEN)}")
        if self.then == REQUEUE and self.deadline_s is None:
            raise RequestError(
                object="drain: then", value=self.then, reason="needs a deadline",
                hint="say how long jobs may go on before they are put back into the queue",
            )  # fmt: skip


@dataclass(frozen=True)
class Order:
    """A drain as it is kept.

    :param who: who gave the order
    :param lifted: when it was lifted, in seconds since the epoch; 0 while it stands
    """

    id: str
    wish: DrainWish
    who: str
    since: float
    lifted: float = 0.0

    @property
    def deadline(self) -> Optional[float]:
        """Until when jobs may go on, in seconds since the epoch."""
        return None if self.wish.deadline_s is None else self.since + self.wish.deadline_s


def is_lifted(order: Order) -> bool:
    """Return whether an order is over."""
    return order.lifted > 0


class Drain:
    """The order that stands on this node, if there is one."""

    def __init__(self, journal: Journal[Order], clock: Clock) -> None:
        self._journal, self._clock, self._lock = journal, clock, threading.Lock()

    @property
    def order(self) -> Optional[Order]:
        """The order that stands, or None."""
        return next(iter(self._journal.active()), None)

    @property
    def reason(self) -> str:
        """Why the node takes no more jobs, for people; empty while it takes some."""
        order = self.order
        return f"{order.who} drained it: {order.wish.reason}" if order else ""

    @property
    def to_jobs(self) -> str:
        """Why a job goes back into the queue, for its user."""
        order = self.order
        return f"its node was drained: {order.wish.reason}" if order else ""

    @property
    def ends_jobs(self) -> bool:
        """Whether jobs that still run have to go back into the queue now."""
        order = self.order
        return order is not None and order.wish.then == REQUEUE and self._is_past(order)

    def give(self, wish: DrainWish, who: str) -> bool:
        """Let an order stand from now on; return False where the same one did already.

        :raises RequestError: the wish makes no sense
        """
        wish.check()
        with self._lock:
            order, now = self.order, self._clock.now()
            if order is not None and order.wish == wish:
                return False
            begun = order or Order(uuid.uuid4().hex[:12], wish, who, now)
            self._journal.put(replace(begun, wish=wish, who=who, since=now))
        return True

    def lift(self) -> bool:
        """Let no order stand any more; return False where none did."""
        with self._lock:
            order = self.order
            if order is not None:
                self._journal.put(replace(order, lifted=self._clock.now()))
        return order is not None

    def told(self, jobs: Optional[int], vms: int) -> Optional[Dict[str, Any]]:
        """Return the order as plain data, with what is left on the node; None where none stands.

        :param jobs: how many jobs are still here; None: not known now
        :param vms: how many VMs are still here
        """
        order = self.order
        if order is None:
            return None
        empty = jobs == 0 and vms == 0
        return {
            "reason": order.wish.reason,
            "who": order.who,
            "since": order.since,
            "deadline": order.deadline,
            "then": order.wish.then,
            "jobs": jobs,
            "vms": vms,
            "empty": empty,
            "late": not empty and self._is_past(order),
        }

    def _is_past(self, order: Order) -> bool:
        return order.deadline is not None and self._clock.now() >= order.deadline
