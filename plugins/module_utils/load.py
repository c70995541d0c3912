# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How busy this machine is. What may take so many seconds on a free machine may take longer on a busy one: limits are
stretched by it, so that they judge what they wait for and not what else runs here.
"""

from __future__ import annotations

import os
import re
from typing import Any, Callable, Sequence, TypeVar

T = TypeVar("T")

LOADAVG, PRESSURE = "/proc/loadavg", "/proc/pressure"
#: what hangs is given up on the busiest machine, too: no limit is stretched further
MOST = 6.0

#: tells by how much limits are stretched now, from 1 on
Stretch = Callable[[], float]


def stretched_by(loadavg: str, cpus: int, *pressures: str) -> float:
    """Return by how much a limit is stretched: 1 where all that wants to run does run, ``MOST`` at most.

    :param loadavg: what the kernel writes into ``/proc/loadavg``
    :param pressures: and into files below ``/proc/pressure``
    """
    slower = [1.0]
    # the last minute's, which forgets slowly, and those that want to run just now, which tells at once
    found = re.match(r"([0-9.]+) [0-9.]+ [0-9.]+ ([0-9]+)/", loadavg)
    if found:
        slower += [float(tasks) / max(1, cpus) for tasks in found.groups()]
    for pressure in pressures:
        # the part of the last ten seconds in which nothing went on
        stalled = re.search(r"^full avg10=([0-9.]+)", pressure, re.MULTILINE)
        if stalled:
            slower.append(100.0 / max(1.0, 100.0 - float(stalled.group(1))))
    return min(MOST, max(slower))


def stretch() -> float:
    """Return by how much limits are stretched on this machine now."""
    files = (LOADAVG, os.path.join(PRESSURE, "io"), os.path.join(PRESSURE, "memory"))
    loadavg, *pressures = map(_text, files)
    return stretched_by(loadavg, os.cpu_count() or 1, *pressures)


def patient(run: Callable[..., T], stretch: Stretch = stretch) -> Callable[..., T]:
    """Return ``run`` (see :func:`process.run`) with limits that are stretched."""

    def stretched(argv: Sequence[str], *, timeout: float, **how: Any) -> T:
        return run(argv, timeout=timeout * stretch(), **how)

    return stretched


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:  # not each kernel tells of pressure
        return ""
