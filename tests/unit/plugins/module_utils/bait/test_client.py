# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each call is the request it should be; wnodes_services/test_bait_main.py has the other end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.nameserver.test_client import Recorder
from wnodes.bait.client import BaitClient
from wnodes.bait.drain import DrainWish
from wnodes.model.errors import UnavailableError


def test_a_drain_is_told_as_it_was_wished() -> None:
    recorder = Recorder({"changed": True})
    client = BaitClient(recorder)
    assert client.drain(DrainWish("new kernel", 60.0)) == {"changed": True}
    client.undrain()
    client.status()
    assert recorder.calls == [
        ("POST", "/v1/drain", {"reason": "new kernel", "deadline_s": 60.0, "then": "wait"}),
        ("POST", "/v1/undrain", None),
        ("GET", "/v1/status", None),
    ]


def test_the_bait_of_another_node_is_called_as_a_manager(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"manager\.crt"):
        BaitClient.of_node("hv1", ("hv1", 8445), str(tmp_path))
