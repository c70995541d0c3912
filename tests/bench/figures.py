# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a figure is printed."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from typing import Any


def show(bench: str, values: Sequence[float], unit: str, yardstick: Any, **more: Any) -> None:
    """Print one figure."""
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    figure = {"bench": bench, "p50": round(statistics.median(ordered), 3), "p95": round(p95, 3), "unit": unit}
    sys.stdout.write(json.dumps({**figure, "yardstick": yardstick, "runs": len(ordered), **more}) + "\n")
    sys.stdout.flush()
