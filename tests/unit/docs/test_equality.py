# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the end-to-end test lets differ on a VM is what users are told, with a reason for each."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.equality import ALLOWED, differences, not_allowed, seen

USER = Path(__file__).parents[3] / "docs" / "user.md"


def rows() -> dict[str, str]:
    """Return key → reason of the table in the users' page."""
    section = USER.read_text().split("\n## What differs on a VM\n")[1].split("\n## ")[0]
    cells = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {key: reason for keys, reason in cells for key in re.findall("`([^`]+)`", keys)}


def test_the_documentation_names_each_difference_that_is_allowed_and_no_other() -> None:
    assert set(rows()) == set(ALLOWED)
    assert all(len(reason) > 20 for reason in rows().values())


def test_what_differs_between_nodes_is_no_difference_of_a_vm() -> None:
    nodes = [{"name": "hv1", "id": "alice", "gone": "x"}, {"name": "hv2", "id": "alice", "gone": "x"}]
    found = differences(nodes, {"name": "vwn-1", "id": "root", "new": "y"})
    assert found == {"id": ("alice", "root"), "gone": ("x", ""), "new": ("", "y")}


def test_a_difference_is_allowed_with_the_values_of_the_table_only() -> None:
    found = {"scontrol Partition": ("main", "wnvm"), "nproc": ("4", "1"), "command xz": ("there", "missing")}
    assert not_allowed(found) == []
    assert len(not_allowed({"scontrol Partition": ("main", "other"), "env TZ": ("UTC", "")})) == 2


def test_lines_of_the_probe_are_keys_and_values() -> None:
    assert seen("noise\nenv A\tb=c\td\nid\t\n") == {"env A": "b=c\td", "id": ""}
