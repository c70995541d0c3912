# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fake keeps the promises of the seam."""

from __future__ import annotations

import pytest

from wnodes.model.errors import NetworkError, StateError
from wnodes.net.fake import FakeNetwork
from wnodes.net.plan import Addressing, Link

SPEAKS = Addressing(("192.0.2.10/24",))


@pytest.fixture
def network() -> FakeNetwork:
    return FakeNetwork([Link("eth0", mac="52:54:00:00:00:01", addressing=SPEAKS)])


def test_there_and_back(network: FakeNetwork) -> None:
    before = dict(network.links)
    network.apply(network.bridge_difference("br.default", "eth0"))
    assert network.links["br.default"].addressing == SPEAKS
    assert network.links["eth0"].master == "br.default"
    assert not network.bridge_difference("br.default", "eth0").changed
    network.apply(network.bridge_difference("br.default", "eth0", present=False))
    assert network.links == before
    assert not network.bridge_difference("br.default", "eth0", present=False).changed


def test_it_fails_when_told_to_and_changes_nothing(network: FakeNetwork) -> None:
    before = dict(network.links)
    network.broken = "the cable is out"
    difference = network.bridge_difference("br.default", "eth0")
    with pytest.raises(NetworkError, match="the cable is out"):
        network.apply(difference)
    assert network.links == before
    network.apply(difference)
    assert network.applied == [difference]


def test_a_used_bridge_stays(network: FakeNetwork) -> None:
    network.apply(network.bridge_difference("br.default", "eth0"))
    network.links["vnet0"] = Link("vnet0", "tun", master="br.default")
    with pytest.raises(StateError, match="vnet0"):
        network.bridge_difference("br.default", "eth0", present=False)
