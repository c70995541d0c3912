# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resource limits of a batch system's daemon, which its jobs inherit: a guest's daemon gets those of the node's."""

from __future__ import annotations

import os
import re
from typing import Optional, Tuple

#: how the kernel calls a limit in /proc/PID/limits: how prlimit does
NAMES = {
    "Max cpu time": "cpu",
    "Max file size": "fsize",
    "Max data size": "data",
    "Max stack size": "stack",
    "Max core file size": "core",
    "Max resident set": "rss",
    "Max processes": "nproc",
    "Max open files": "nofile",
    "Max locked memory": "memlock",
    "Max address space": "as",
    "Max file locks": "locks",
    "Max pending signals": "sigpending",
    "Max msgqueue size": "msgqueue",
    "Max nice priority": "nice",
    "Max realtime priority": "rtprio",
    "Max realtime timeout": "rttime",
}
_LINE = re.compile(r"^(Max [a-z ]+?) +(unlimited|[0-9]+) +(unlimited|[0-9]+)\b", re.MULTILINE)


def prlimit_options(text: str) -> Tuple[str, ...]:
    """Return what /proc/PID/limits says as options of prlimit, e.g. ``--nofile=1024:524288`` (soft, hard)."""
    return tuple(f"--{NAMES[name]}={soft}:{hard}" for name, soft, hard in _LINE.findall(text) if name in NAMES)


def limits_of(daemon: str, proc: str = "/proc") -> Tuple[str, ...]:
    """Return the limits of the program ``daemon`` (as ``comm`` has it) of the lowest process id, as options of prlimit.

    None where no such program runs, or it can't be looked at.
    """
    for pid in sorted(filter(str.isdigit, os.listdir(proc)), key=int):
        if (_read(proc, pid, "comm") or "").strip() == daemon:
            return prlimit_options(_read(proc, pid, "limits") or "")
    return ()


def _read(proc: str, pid: str, name: str) -> Optional[str]:
    try:
        with open(os.path.join(proc, pid, name), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None  # it has ended meanwhile
