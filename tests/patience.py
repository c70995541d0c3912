# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of tests are a quiet machine's; on one that is loaded everything takes longer, and nothing is wrong."""

from __future__ import annotations

import os

MOST = 5.0


def patience() -> float:
    """Return how much longer than on a quiet machine things may take now, 1 to 5."""
    return min(MOST, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))
