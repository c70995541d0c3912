# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a disk has."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class DiskSpace:
    """MiB of a file system: all, and what is free for those that are not root."""

    total_mib: int
    free_mib: int


def disk(folder: str) -> DiskSpace:
    """Return the file system that ``folder`` is on."""
    found = os.statvfs(folder)
    return DiskSpace(found.f_blocks * found.f_frsize >> 20, found.f_bavail * found.f_frsize >> 20)
