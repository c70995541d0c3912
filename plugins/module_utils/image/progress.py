# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What long work is doing, one line at a time: step, size, speed, time left."""

from __future__ import annotations

import time
from typing import Callable, Optional

Say = Callable[[str], None]

_MIB = 1 << 20
_EVERY_S = 1.0


def silent(_line: str) -> None:
    """Say nothing."""


class TransferProgress:
    """Turns a transfer's reports (bytes done, bytes in all or None) into lines, one a second.

    :param what: the step's name
    """

    def __init__(self, say: Say, what: str, now: Callable[[], float] = time.monotonic) -> None:
        self._say, self._what, self._now = say, what, now
        self._start = self._told = now()
        self._first: Optional[int] = None
        say(what)

    def __call__(self, done: int, total: Optional[int]) -> None:
        now = self._now()
        if self._first is None:
            self._first = done  # what an earlier run left is no speed of this one
        if now - self._told >= _EVERY_S:
            self._told = now
            self._say(f"{self._what}: {transfer(done, total, (done - self._first) / (now - self._start))}")


def transfer(done: int, total: Optional[int], rate: float) -> str:
    """Return e.g. ``120 of 400 MiB, 60 MiB/s, 5 s left``; ``rate`` in bytes a second."""
    text = f"{done // _MIB}{f' of {total // _MIB}' if total is not None else ''} MiB, {rate / _MIB:.0f} MiB/s"
    return f"{text}, {(total - done) / rate:.0f} s left" if total is not None and rate > 0 else text
