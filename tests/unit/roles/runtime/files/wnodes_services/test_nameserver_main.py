# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nameserver's client and its application are two ends of one thing: each call gives what the directory gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.releases import MANIFEST, RELEASE, TAG, release
from wnodes.directory.base import Heartbeat, HostName, HostNames
from wnodes.directory.sqlite import SqliteDirectory
from wnodes.model.clock import FakeClock
from wnodes.model.errors import AuthError, DirectoryError, NotFoundError, RequestError
from wnodes.model.image import Rollout, TagEntry
from wnodes.model.lease import NetworkSettings
from wnodes.nameserver.client import NameserverClient
from wnodes.nameserver.config import HostNameRange, HostNamesConfig, NameserverConfig
from wnodes_services import nameserver_main

CONFIG = NameserverConfig(HostNamesConfig(NetworkSettings(24), (HostNameRange("vm-", 1, "10.0.0.1", 2),)))
HYPERVISOR = ("hypervisor.wnodes", "hv1.hypervisor.wnodes")
BAIT = ("bait.wnodes", "hv1.bait.wnodes")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def directory(clock: FakeClock) -> SqliteDirectory:
    made = SqliteDirectory(":memory:", clock)
    made.set_host_names(CONFIG.pool.pool())
    return made


@pytest.fixture
def app(directory: SqliteDirectory, clock: FakeClock) -> Any:
    return nameserver_main.application(directory, CONFIG, clock)


@pytest.fixture
def manager(calling: Any, app: Any) -> NameserverClient:
    return NameserverClient(calling(app, uid=0))


@pytest.fixture
def hypervisor(calling: Any, app: Any) -> NameserverClient:
    return NameserverClient(calling(app, names=HYPERVISOR))


def test_leases(hypervisor: NameserverClient, manager: NameserverClient) -> None:
    lease = hypervisor.lease("a b?c", "hv1", 60, "vm-2")
    assert lease.name == "vm-2"
    assert manager.leases() == (lease,)
    assert hypervisor.renew("hv1", ("a b?c", "unknown"), 60) == (lease,)
    assert hypervisor.release("a b?c", lease.epoch)
    assert not hypervisor.release("a b?c", lease.epoch)


def test_a_pool_that_is_used_up(hypervisor: NameserverClient) -> None:
    hypervisor.lease("a", "hv1", 60)
    hypervisor.lease("b", "hv1", 60)
    with pytest.raises(DirectoryError, match="none of the 2 host names"):
        hypervisor.lease("c", "hv1", 60)


def test_the_pool_can_be_replaced(hypervisor: NameserverClient, manager: NameserverClient) -> None:
    manager.set_host_names(
        HostNames(NetworkSettings(16, dns=("10.0.0.53",)), (HostName("x", "52:54:00:00:00:09", "10.0.0.9"),))
    )
    lease = hypervisor.lease("a", "hv1", 60)
    assert (lease.name, lease.network) == ("x", NetworkSettings(16, dns=("10.0.0.53",)))


def test_tags(manager: NameserverClient) -> None:
    (entry,) = manager.set_tags((TAG,), RELEASE)
    assert (manager.tag(TAG), manager.tags(), manager.history(TAG)) == (entry, (entry,), (entry,))
    rollout = Rollout(RELEASE, ("hv1",))
    assert manager.roll_out(TAG, rollout) == replace(entry, rollout=rollout) == manager.tag(TAG)
    assert manager.roll_out(TAG, None) == entry
    assert manager.remove_tag(TAG)
    assert not manager.remove_tag(TAG)
    with pytest.raises(NotFoundError):
        manager.tag(TAG)
    with pytest.raises(RequestError, match="not of the form"):
        manager.set_tags(("nonsense",), RELEASE)


def test_configuration(manager: NameserverClient) -> None:
    manager.set_config("bait/hv1", {"open": False})
    assert manager.config("bait/hv1") == {"open": False}
    assert manager.config("site") == {}


def test_heartbeats(calling: Any, app: Any, manager: NameserverClient, clock: FakeClock) -> None:
    status = {"ok": True, "jobs": [{"uid": 2001}, {"uid": 2002}]}
    bait = NameserverClient(calling(app, names=BAIT))
    bait.beat(Heartbeat("bait", "hv1", 1.0, status))
    assert manager.heartbeats() == (Heartbeat("bait", "hv1", clock.now(), status),)
    (seen,) = NameserverClient(calling(app, uid=2001)).heartbeats()
    assert seen.status["jobs"] == [{"uid": 2001}]
    with pytest.raises(AuthError):
        bait.beat(Heartbeat("bait", "hv2"))


def test_a_heartbeat_that_holds_what_is_no_text_blinds_nobody(calling: Any, app: Any) -> None:
    status = {"jobs": [{"uid": 2001, "reason": "wnodes:\udcff=1", "\ud800": "\udc80"}]}
    calling(app, names=("bait.wnodes", "hv1.bait.wnodes")).call("PUT", "/v1/heartbeats/bait/hv1", status)
    (seen,) = NameserverClient(calling(app, uid=2001)).heartbeats()
    assert seen.status == {"jobs": [{"uid": 2001, "reason": "wnodes:?=1", "?": "?"}]}


def test_a_host_that_has_left_is_forgotten(manager: NameserverClient, hypervisor: NameserverClient) -> None:
    for host in ("hv1", "hv2"):
        manager.lease(f"vm of {host}", host, 60)
        manager.beat(Heartbeat("bait", host))
        manager.set_config(f"bait/{host}", {"open": False})
    with pytest.raises(AuthError):
        hypervisor.forget("hv2")
    dropped = manager.forget("hv1")
    assert dropped == ("configuration bait/hv1", "lease vm-1", "heartbeat of the bait")
    assert manager.forget("hv1") == ()
    assert [lease.owner for lease in manager.leases()] == ["hv2"]
    assert [beat.host for beat in manager.heartbeats()] == ["hv2"]
    assert (manager.config("bait/hv1"), manager.config("bait/hv2")) == ({}, {"open": False})


def test_who_has_no_role_gets_nothing(calling: Any, app: Any) -> None:
    for names in ((), ("example.org",), ("bait.wnodes", "hypervisor.wnodes", "a.bait.wnodes")):
        with pytest.raises(AuthError, match="exactly one role"):
            NameserverClient(calling(app, names=names)).tags()


def test_status_and_metrics(calling: Any, app: Any, hypervisor: NameserverClient, clock: FakeClock) -> None:
    hypervisor.lease("a", "hv1", 60)
    hypervisor.beat(Heartbeat("hypervisor", "hv1"))
    clock.advance(7)
    status = hypervisor.status()
    assert status == {"ok": True, "problems": [], "heartbeat_s": 10.0, "now": clock.now(), "pool": 2, "leased": 1}
    text = calling(app).ask("GET", "/metrics")[1].decode()
    assert 'wnodes_heartbeat_age_seconds{host="hv1",role="hypervisor"} 7.0' in text
    assert "wnodes_leases 1.0" in text


def test_metrics_tell_when_images_expire(calling: Any, app: Any, directory: SqliteDirectory) -> None:
    directory.set_tags((TAG,), release(replace(MANIFEST, expires=2_000_000)))
    directory.set_tags(("a_b_c",), RELEASE)
    text = calling(app).ask("GET", "/metrics")[1].decode()
    found = [line for line in text.splitlines() if line.startswith("wnodes_image_expiry_timestamp_seconds")]
    assert found == [f'wnodes_image_expiry_timestamp_seconds{{image="{TAG}"}} 2e+06']


def test_a_statement_of_another_release_of_ours_takes_no_other_figure_away() -> None:
    unread = TagEntry("d_e_f", replace(RELEASE, manifest="nonsense"))
    good = TagEntry(TAG, release(replace(MANIFEST, expires=2_000_000)))
    assert list(nameserver_main.expiries((unread, good))) == [(TAG, 2_000_000)]


def test_bodies_are_checked(calling: Any, app: Any) -> None:
    client = calling(app, uid=0)
    for target, body in (
        ("/v1/leases/a", {"owner": "hv1"}),
        ("/v1/leases/a", {"owner": "hv1", "ttl_s": 1, "more": 1}),
        (f"/v1/tags/{TAG}/rollout", {"rollout": {"hosts": ["hv1"]}}),
        ("/v1/config/site", [1]),
    ):
        with pytest.raises(RequestError):
            client.call("PUT", target, body)
