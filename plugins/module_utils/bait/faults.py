# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of this node and of its images: counted here, never against a job, and told to administrators.

After some VMs of an image have failed in a row, the node makes none of that image for a while, and jobs go elsewhere.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Dict, Tuple

from ..engine.backoff import backoff
from ..model.clock import Clock

#: so many VMs of an image may fail in a row before jobs are sent elsewhere
TOLERATED = 3


@dataclass(frozen=True)
class _Fault:
    count: int
    until: float
    reason: str


class Faults:
    """How often VMs have failed in a row, by image tag.

    :param pauses_s: first and longest pause before the next VM of an image that keeps failing, in seconds
    """

    def __init__(self, clock: Clock, pauses_s: Tuple[float, float]) -> None:
        self._clock, self._pauses_s = clock, pauses_s
        self._lock = threading.Lock()
        self._faults: Dict[str, _Fault] = {}

    def failed(self, tag: str, reason: str) -> None:
        """A VM of the image failed."""
        with self._lock:
            known = self._faults.get(tag)
            count = known.count + 1 if known else 1
            pause_s = backoff(count - TOLERATED + 1, *self._pauses_s) if count >= TOLERATED else 0.0
            self._faults[tag] = _Fault(count, self._clock.now() + pause_s, reason)

    def succeeded(self, tag: str) -> None:
        """A VM of the image is ready."""
        with self._lock:
            self._faults.pop(tag, None)

    def wait_s(self, tag: str) -> float:
        """Return how long no VM of the image should be made, in seconds; 0: one may be made now."""
        with self._lock:
            known = self._faults.get(tag)
            return max(0.0, known.until - self._clock.now()) if known else 0.0

    def counts(self) -> Dict[str, int]:
        """Return how many VMs of each image have failed in a row; images without a fault are left out."""
        with self._lock:
            return {tag: fault.count for tag, fault in self._faults.items()}

    def problems(self) -> Tuple[str, ...]:
        """Return what administrators are told."""
        with self._lock:
            return tuple(
                f"image {tag}: {fault.count} VMs failed in a row on this node, the last one: {fault.reason}"
                for tag, fault in sorted(self._faults.items())
                if fault.count >= TOLERATED
            )
