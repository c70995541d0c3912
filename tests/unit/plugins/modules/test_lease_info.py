# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module tells which host names are leased, and changes nothing."""

from __future__ import annotations

from functools import partial

import pytest

from ansible_collections.wnodes.farm.plugins.modules import lease_info
from tests.unit.plugins.modules.matrix import Call, only_reads
from wnodes.directory.base import HostName, HostNames
from wnodes.directory.sqlite import SqliteDirectory
from wnodes.model.lease import NetworkSettings


@pytest.fixture
def read(call: Call, directory: SqliteDirectory, monkeypatch: pytest.MonkeyPatch) -> Call:
    names = tuple(HostName(f"vwn-{n}", f"52:54:00:00:00:{n:02}", f"192.0.2.{n}") for n in (10, 11))
    directory.set_host_names(HostNames(NetworkSettings(24), names))
    directory.lease("r1", "hv1", 60.0)
    directory.lease("r2", "hv2", 60.0)
    monkeypatch.setattr(lease_info, "backend", lambda socket: directory)
    return partial(call, lease_info)


def test_leases_are_told_by_name_with_who_holds_them(read: Call) -> None:
    told = read()["leases"]
    assert [(one["name"], one["holder"], one["owner"]) for one in told] == [
        ("vwn-10", "r1", "hv1"),
        ("vwn-11", "r2", "hv2"),
    ]
    assert told[0]["network"]["prefix"] == 24


def test_those_of_one_hypervisor_can_be_asked_for(read: Call) -> None:
    assert [one["name"] for one in read(owner="hv2")["leases"]] == ["vwn-11"]
    assert read(owner="hv9")["leases"] == []


def test_it_only_reads(read: Call, directory: SqliteDirectory) -> None:
    only_reads(read, directory.leases, [{}, {"owner": "hv1"}])
