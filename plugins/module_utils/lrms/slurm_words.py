# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The word that the hook leaves of jobs it had to keep off the node alone: one file a job, lines of ``key=value``.

Those of earlier hooks are empty.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import List

#: Slurm's own reason for draining a node whose prolog failed (seen on 22.05.8)
PROLOG_ERROR = "Prolog error"


@dataclass(frozen=True)
class Word:
    """What the hook says of a job.

    :param job: its id: a number, or ``<array>_<task>``
    :param age_s: how long ago that was, in seconds
    :param requeue: its owner's ``Requeue`` (0 or 1); empty: not told
    :param failed: the job could not be put back, so that the prolog failed and Slurm has drained the node for it
    """

    path: str
    job: str
    age_s: float
    requeue: str = ""
    failed: bool = False

    def forget(self) -> None:
        """Remove it."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


def words(folder: str) -> List[Word]:
    """Return all that the hook has left, oldest first."""
    found = []
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if not name.replace("_", "").isdigit():  # one that is just being written
            continue
        path = os.path.join(folder, name)
        with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii", errors="replace") as file:
            told = dict(line.rstrip("\n").partition("=")[::2] for line in file)
            age_s = max(0.0, time.time() - os.fstat(file.fileno()).st_mtime)
            requeue = told.get("Requeue", "")
            failed = told.get("Failed") == "1"
            found.append(Word(path, name, age_s, requeue if requeue in ("0", "1") else "", failed))
    return sorted(found, key=lambda word: -word.age_s)
