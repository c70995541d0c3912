# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node is forgotten when it has left, and only then."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.unit.roles.runtime.files.wnodes_services.cli.conftest import WELL, Cli, Directory
from wnodes.directory.base import Heartbeat
from wnodes_services.cli import site


def test_a_node_that_is_alive_is_not_forgotten_unless_it_was_just_stopped(wnodes: Cli, directory: Directory) -> None:
    directory.beat(Heartbeat("bait", "hv1"))
    code, _out, err = wnodes("forget", "hv1")
    assert code == 1
    assert "node hv1 (bait): was heard of a moment ago" in err
    assert directory.heartbeats() != ()
    code, out, _err = wnodes("forget", "hv1", "--stopped", "--json")
    assert (code, json.loads(out)) == (0, {"host": "hv1", "dropped": ["heartbeat of the bait"]})
    assert directory.heartbeats() == ()


def test_a_node_that_is_silent_is_forgotten(wnodes: Cli, directory: Directory) -> None:
    wnodes.see(replace(WELL, state=site.DOWN), replace(WELL, host="hv2"))
    directory.beat(Heartbeat("bait", "hv1"))
    assert wnodes("forget", "hv1") == (0, "heartbeat of the bait\n", "")
    assert wnodes("forget", "hv1") == (0, "nothing is known of hv1\n", "")
