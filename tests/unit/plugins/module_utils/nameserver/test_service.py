# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what: every call of the directory by every role."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.releases import RELEASE, TAG
from wnodes.directory.base import Directory, Heartbeat, HostName, HostNames
from wnodes.directory.sqlite import SqliteDirectory
from wnodes.model.caller import ROLES, Caller
from wnodes.model.clock import FakeClock
from wnodes.model.errors import AuthError
from wnodes.model.lease import NetworkSettings
from wnodes.nameserver.service import DirectoryView, user_caller

POOL = HostNames(NetworkSettings(24), (HostName("vm-1", "52:54:00:00:00:01", "10.0.0.1"),))


@pytest.fixture
def directory() -> Directory:
    made = SqliteDirectory(":memory:", FakeClock())
    made.set_host_names(POOL)
    made.set_tags((TAG,), RELEASE)
    return made


CALLS: dict[str, tuple[Callable[[Directory], object], set[str]]] = {
    "lease": (lambda d: d.lease("a", "hv1", 60), {"hypervisor"}),
    "renew": (lambda d: d.renew("hv1", ("a",), 60), {"hypervisor"}),
    "release": (lambda d: d.release("a", 1), {"hypervisor"}),
    "leases": (lambda d: d.leases(), set()),
    "set_host_names": (lambda d: d.set_host_names(POOL), set()),
    "set_tags": (lambda d: d.set_tags((TAG,), RELEASE), set()),
    "tag": (lambda d: d.tag(TAG), {"hypervisor", "bait", "user"}),
    "tags": (lambda d: d.tags(), {"hypervisor", "bait", "user"}),
    "roll_out": (lambda d: d.roll_out(TAG, None), set()),
    "history": (lambda d: d.history(TAG), {"user"}),
    "remove_tag": (lambda d: d.remove_tag(TAG), set()),
    "set_config": (lambda d: d.set_config("site", {}), set()),
    "config": (lambda d: d.config("site"), {"hypervisor", "bait"}),
    "beat as bait": (lambda d: d.beat(Heartbeat("bait", "hv1")), {"bait"}),
    "beat as hypervisor": (lambda d: d.beat(Heartbeat("hypervisor", "hv1")), {"hypervisor"}),
    "forget": (lambda d: d.forget("hv1"), set()),
    "heartbeats": (lambda d: d.heartbeats(), {"bait", "user"}),
}


def test_the_matrix_is_complete() -> None:
    assert {call.split()[0] for call in CALLS} == set(Directory.__abstractmethods__)


@pytest.mark.parametrize("role", [*ROLES, "user"])
@pytest.mark.parametrize("call", CALLS)
def test_only_who_may_may(directory: Directory, call: str, role: str) -> None:
    make, allowed = CALLS[call]
    view = DirectoryView(directory, Caller(role, "hv1", 2001 if role == "user" else None))
    if role == "manager" or role in allowed:
        make(view)
    else:
        with pytest.raises(AuthError, match="is not allowed"):
            make(view)


@pytest.mark.parametrize("call", ["lease", "renew", "beat as hypervisor"])
def test_a_hypervisor_speaks_for_itself_alone(directory: Directory, call: str) -> None:
    with pytest.raises(AuthError, match="may not act for 'hv1'"):
        CALLS[call][0](DirectoryView(directory, Caller("hypervisor", "hv2")))


def test_a_hypervisor_releases_its_own_leases_alone(directory: Directory) -> None:
    lease = directory.lease("a", "hv1", 60)
    with pytest.raises(AuthError, match="may not act for 'hv1'"):
        DirectoryView(directory, Caller("hypervisor", "hv2")).release("a", lease.epoch)
    assert DirectoryView(directory, Caller("hypervisor", "hv1")).release("a", lease.epoch)


def test_root_at_the_socket_is_the_manager_and_others_are_users() -> None:
    assert user_caller(0) == Caller("manager")
    assert user_caller(2001) == Caller("user", uid=2001)


def test_a_bait_hears_who_is_alive_and_nothing_else_of_other_nodes(directory: Directory) -> None:
    directory.beat(Heartbeat("bait", "hv2", status={"jobs": [{"uid": 2001}]}))
    (heard,) = DirectoryView(directory, Caller("bait", "hv1")).heartbeats()
    assert (heard.role, heard.host, heard.status) == ("bait", "hv2", {})
    assert heard.at > 0


def test_a_user_sees_its_own_jobs_and_the_vms_they_run_in(directory: Directory) -> None:
    jobs = [{"uid": 2001, "host": "vm-1"}, {"uid": 2002, "host": "vm-2"}, {"uid": 2001, "host": ""}, "nonsense"]
    vms = [{"lease": {"name": "vm-1"}}, {"lease": {"name": "vm-2"}}, {"lease": None}]
    directory.beat(Heartbeat("bait", "hv1", status={"ok": True, "jobs": jobs}))
    directory.beat(Heartbeat("hypervisor", "hv1", status={"vms": vms}))
    directory.beat(Heartbeat("hypervisor", "hv2", status={"vms": {"READY": 1}}))
    bait, first, second = DirectoryView(directory, user_caller(2001)).heartbeats()
    assert bait.status == {"ok": True, "jobs": [jobs[0], jobs[2]]}
    assert first.status == {"vms": [vms[0]]}
    assert second.status == {"vms": []}
    assert DirectoryView(directory, user_caller(0)).heartbeats()[0].status["jobs"] == jobs
