# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a guest's syslog message to a record of the node's journal: whose it is, within what limits, what is lost."""

from __future__ import annotations

import collections
import logging
from typing import Callable, Counter, Dict, Protocol, Sequence

from ..model.vm import Vm
from .syslog_text import MAX_MESSAGE, Message, parse

log = logging.getLogger(__name__)

#: all guests' records carry this one: a guest can't pose as a program of the node
IDENTIFIER = "wnodes-vm"
#: seconds between two words about what was dropped
REPORT_S = 60.0
#: journald shows an emergency on every terminal of the node
_ALERT = 1


class JournalWriter(Protocol):
    """The part of :class:`journald.Journald` that takes records."""

    def put(self, fields: Dict[str, str]) -> bool:
        """Take a record; False where it is lost."""


class Bucket:
    """A token bucket: ``burst`` at once, ``rate`` per second in the long run."""

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate, self._burst, self._tokens, self._at = rate, burst, float(burst), now

    def take(self, wanted: int, now: float) -> int:
        """Return how many of ``wanted`` are granted at ``now`` (seconds)."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        granted = min(wanted, int(self._tokens))
        self._tokens -= granted
        return granted


def record(vm: Vm, message: Message) -> Dict[str, str]:
    """Return the journal's fields of a message; what the guest chose is in MESSAGE and WNODES_ fields only."""
    labels = vm.request.labels
    job = f" job={labels['job']}" if "job" in labels else ""
    program = f" {message.tag}[{message.pid}]:" if message.pid else f" {message.tag}:" if message.tag else ""
    text = f"vm={vm.name}{job}{program} {message.text}".encode()[:MAX_MESSAGE].decode("utf-8", "ignore")
    fields = {f"WNODES_{key.upper()}": value for key, value in labels.items()}
    fields.update(
        MESSAGE=text,
        PRIORITY=str(max(_ALERT, message.severity)),
        SYSLOG_FACILITY=str(message.facility),
        SYSLOG_IDENTIFIER=IDENTIFIER,
        WNODES_VM=vm.name,
        WNODES_REQUEST=vm.id,
        WNODES_TAG=message.tag,
        WNODES_SENT=message.sent,
    )
    return {name: value for name, value in fields.items() if value}


class Intake:
    """Takes what guests send, within each one's rate. Not for several threads at once.

    :param rate: messages a second of one VM in the long run
    :param burst: messages of one VM at once
    :param now: the time in seconds
    """

    def __init__(self, journal: JournalWriter, rate: float, burst: int, now: Callable[[], float]) -> None:
        self._journal, self._rate, self._burst, self._now = journal, rate, burst, now
        self._buckets: Dict[str, Bucket] = {}
        self._dropped: Dict[str, Counter[str]] = {}
        self._reported = now()
        #: messages since the start: ``written``, and those dropped by reason
        self.counts: Counter[str] = collections.Counter()

    def take(self, vm: Vm, messages: Sequence[bytes]) -> None:
        """Write ``vm``'s messages to the journal as far as its rate allows."""
        now = self._now()
        bucket = self._buckets.setdefault(vm.id, Bucket(self._rate, self._burst, now))
        granted = bucket.take(len(messages), now)
        if granted < len(messages):
            self.drop(f"vm={vm.name}", "rate", len(messages) - granted)
        for data in messages[:granted]:
            message = parse(data)
            if message is None:
                continue
            if self._journal.put(record(vm, message)):
                self.counts["written"] += 1
            else:
                self.drop(f"vm={vm.name}", "journal")

    def drop(self, whose: str, reason: str, count: int = 1) -> None:
        """Note that ``count`` messages (or connections) were dropped."""
        self.counts[reason] += count
        self._dropped.setdefault(whose, collections.Counter())[reason] += count

    def forget(self, vm_id: str) -> None:
        """Keep nothing of a VM that is gone."""
        self._buckets.pop(vm_id, None)

    def report(self) -> None:
        """Tell what was dropped, at most once in ``REPORT_S`` seconds."""
        if self._now() - self._reported < REPORT_S or not self._dropped:
            return
        self._reported = self._now()
        dropped, self._dropped = self._dropped, {}
        for whose, reasons in dropped.items():
            for reason, count in reasons.items():
                log.warning("%d messages of %s dropped: %s", count, whose, WHY[reason])


#: reasons for dropping, and what people are told
WHY = {
    "rate": "over syslog_rate",
    "journal": "journald takes no more",
    "unknown": "no VM of this node has the address",
    "connections": "too many connections",
    "framing": "no syslog framing",
}
