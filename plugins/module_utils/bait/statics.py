# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hook has to know of the rules when no bait answers: who gets an image without asking for one."""

from __future__ import annotations

import json
import os
from typing import Any, Dict, Sequence

from ..model.codec import encode
from .rules import Rules

FILE = "statics.json"


def statics(rules: Rules, own_partitions: Sequence[str]) -> Dict[str, Any]:
    """Return plain data: the partitions that have no users' jobs, and in order whom which image rule is for.

    ``virtual`` tells whether a job that names no image becomes virtual by that rule.
    """
    chosen = [
        {**encode(rule.match), "virtual": bool(rule.values.image.tag)}
        for rule in rules.rules
        if rule.values.image is not None
    ]
    return {"own_partitions": list(own_partitions), "rules": chosen}


def leave(state_dir: str, rules: Rules, own_partitions: Sequence[str]) -> None:
    """Put that where the hook looks for it, in one step."""
    path = os.path.join(state_dir, FILE)
    with open(path + ".new", "w", encoding="utf-8") as new:
        json.dump(statics(rules, own_partitions), new)
        new.flush()
        os.fsync(new.fileno())
    os.replace(path + ".new", path)
