# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a job that names no image gets one by a rule of the site, as the bait has left it for when it is away.

Only the emergency reads this. Unix groups are not looked up, for that may take any time: who could be meant is meant.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase

TYPE_CHECKING = False  # see main.py
if TYPE_CHECKING:
    from typing import Any, Dict

PATH = "/var/lib/wnodes/statics.json"


def chosen(user: str, partition: str) -> bool:
    """Tell whether a job of ``user`` in ``partition`` may get an image by a rule; in doubt it does."""
    try:
        with open(PATH, encoding="utf-8") as file:
            left = json.load(file)
        return partition not in left["own_partitions"] and _virtual(left["rules"], user, partition)
    except FileNotFoundError:
        return False  # no bait has ever run here
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True


def _virtual(rules: Any, user: str, partition: str) -> bool:
    possible = {False}
    for rule in rules:
        if _fits(rule, "users", user) and _fits(rule, "partitions", partition):
            if rule["groups"] is None:
                possible.clear()
            possible.add(rule["virtual"])
    return True in possible


def _fits(rule: Dict[str, Any], key: str, name: str) -> bool:
    # a name that is not told could be any
    return rule[key] is None or not name or any(fnmatchcase(name, pattern) for pattern in rule[key])
