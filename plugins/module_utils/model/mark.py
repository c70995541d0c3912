# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What we write into the LRMS's job, for us and for people:
``wnodes:<request id>:<bait>:<attempt>[?<key>=<value>&…] <reason>``.

While a job is in our hands, what has to be undone stands in it, so that any bait can do that where its own is gone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Dict, Optional
from urllib.parse import parse_qsl, urlencode

#: batch systems keep this much of it at the least
MAX_LENGTH = 2000
_MARK = re.compile(r"wnodes:([a-z0-9-]+):([^:\s]+):([0-9]{1,6})(?:\?(\S*))?(?:\s+(.*))?\Z", re.DOTALL)


@dataclass(frozen=True)
class Mark:
    """See the module.

    :param id: request id, ours
    :param bait: whose hands the job is in, or was
    :param attempt: 1, and one more for each VM that failed
    :param reason: for people
    :param stops: how often we have put the job back into the queue: no restarts of its owner's
    :param crowded: how often in a row its node had no room for its VM
    :param avoided: node that we have excluded for it
    :param waits: whether it waits for its turn, without a VM
    :param undo: what we change in the LRMS's job and have to put back, in the LRMS's terms; empty: it is nobody's
    """

    id: str
    bait: str
    attempt: int
    reason: str = ""
    stops: int = 0
    crowded: int = 0
    avoided: str = ""
    waits: bool = False
    undo: Dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        known = {"stops": self.stops, "crowded": self.crowded, "avoided": self.avoided, "waits": int(self.waits)}
        told = {**{key: str(value) for key, value in known.items() if value}, **self.undo}
        query = f"?{urlencode(told, safe=',:')}" if told else ""
        plain = re.sub(r"[^\x20-\x7e]|[='\"\\]", " ", self.reason)
        return f"wnodes:{self.id}:{self.bait}:{self.attempt}{query} {plain}"[:MAX_LENGTH].strip()

    @classmethod
    def parse(cls, text: str) -> Optional[Mark]:
        """Return the mark in ``text``; None where there is none of ours."""
        match = _MARK.match(text)
        if not match:
            return None
        told = dict(parse_qsl(match.group(4) or "", keep_blank_values=True))
        stops, crowded = (_count(told.pop(key, "")) for key in ("stops", "crowded"))
        avoided, waits = told.pop("avoided", ""), told.pop("waits", "") == "1"
        reason = match.group(5) or ""
        return cls(match.group(1), match.group(2), int(match.group(3)), reason, stops, crowded, avoided, waits, told)


def _count(text: str) -> int:
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else 0


def is_under_way(text: str) -> bool:
    """Return whether the job that carries this mark is in some bait's hands."""
    mark = Mark.parse(text)
    return mark is not None and bool(mark.undo)
