# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module tells how the nodes are, and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.wnodes.farm.plugins.modules import node_info
from tests.unit.plugins.modules.matrix import Answer, Call, only_reads, run
from wnodes.directory.base import Heartbeat
from wnodes.model.errors import UnavailableError
from wnodes.nameserver.client import NameserverClient

NOW = 1000.0


class Nameserver(NameserverClient):
    def __init__(self) -> None:
        self.beats: list[Heartbeat] = []
        self.down = False

    def status(self) -> dict[str, Any]:
        if self.down:
            raise UnavailableError(object="nameserver", reason="does not answer")
        return {"now": NOW, "heartbeat_s": 5.0}

    def heartbeats(self) -> tuple[Heartbeat, ...]:
        return tuple(self.beats)


@pytest.fixture
def nameserver(monkeypatch: pytest.MonkeyPatch) -> Nameserver:
    made = Nameserver()
    jobs = [{"lrms_id": "7", "state": "RUNNING"}, {"lrms_id": "6", "state": "CLOSED"}]
    vms = [{"uuid": "a", "state": "IN_USE"}, {"uuid": "b", "state": "GONE"}]
    made.beats = [
        Heartbeat("hypervisor", "hv2", NOW - 16, {"ok": True}),
        Heartbeat("hypervisor", "hv1", NOW - 2, {"ok": False, "problems": ["libvirt: does not answer"], "vms": vms}),
        Heartbeat("bait", "hv1", NOW - 1, {"ok": True, "tags": ["t"], "jobs": jobs}),
    ]
    monkeypatch.setattr(node_info, "backend", lambda socket: made)
    return made


@pytest.fixture
def module(nameserver: Nameserver, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(**options: Any) -> Answer:
        return run(node_info, capsys, **options)

    return call


def test_each_node_is_told_with_what_is_under_way_on_it(module: Call) -> None:
    hv1, hv2 = module()["nodes"]
    assert (hv1["name"], hv1["ok"], hv2["name"], hv2["ok"]) == ("hv1", False, "hv2", False)
    assert [job["lrms_id"] for job in hv1["jobs"]] == ["7"]
    assert [vm["uuid"] for vm in hv1["vms"]] == ["a"]
    assert hv1["services"] == {
        "bait": {"state": "OK", "age_s": 1.0, "tags": ["t"]},
        "hypervisor": {"state": "PROBLEM", "age_s": 2.0},
    }
    assert (hv2["jobs"], hv2["vms"]) == ([], [])


def test_a_node_of_which_all_is_well_has_no_problems(module: Call, nameserver: Nameserver) -> None:
    nameserver.beats = nameserver.beats[2:]
    answer = module()
    assert (answer["problems"], answer["nodes"][0]["ok"]) == ([], True)


def test_all_problems_are_told_with_their_place(module: Call) -> None:
    problems = module()["problems"]
    assert problems[0] == "hv1: hypervisor: libvirt: does not answer"
    assert problems[1].startswith("hv2: hypervisor: silent for 16 s")


def test_one_node_can_be_asked_for(module: Call) -> None:
    answer = module(name="hv1")
    assert [node["name"] for node in answer["nodes"]] == ["hv1"]
    assert len(answer["problems"]) == 1
    assert module(name="hv9")["nodes"] == []


def test_it_only_reads(module: Call, nameserver: Nameserver) -> None:
    only_reads(module, nameserver.heartbeats, [{}, {"name": "hv1"}])


def test_a_silent_nameserver_is_told(module: Call, nameserver: Nameserver) -> None:
    nameserver.down = True
    assert module()["error"]["error"] == "UnavailableError"
