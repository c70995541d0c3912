# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor over HTTP: its client and its application are two ends of one thing."""

from __future__ import annotations

import base64
import pwd
from dataclasses import replace
from typing import Any

import pytest

from wnodes.hypervisor.api import HypervisorStatus, NodeImage
from wnodes.hypervisor.client import HypervisorClient
from wnodes.hypervisor.fake import FakeHypervisor
from wnodes.image.cache import CacheEntry
from wnodes.model.codec import encode
from wnodes.model.errors import AuthError, NotFoundError, RequestError, StateError, UnavailableError, VirtError
from wnodes.model.resources import Resources
from wnodes.model.states import VmState
from wnodes.model.vm import GuestFile, GuestSetup, Mount, VmEvent, VmRequest, VmUser
from wnodes_services import edge, hypervisor_main
from wnodes_services.metrics import VmMetrics

REQUEST = VmRequest("r1", "alice", "worker_debian12_x86_64", Resources(1, 512, 10), (Mount("/home", "/home"),))


@pytest.fixture
def fake() -> FakeHypervisor:
    return FakeHypervisor()


@pytest.fixture
def app(fake: FakeHypervisor) -> Any:
    return hypervisor_main.application(fake)


@pytest.fixture
def client(calling: Any, app: Any) -> HypervisorClient:
    return HypervisorClient(calling(app, uid=0))


def test_the_life_of_a_vm(client: HypervisorClient, fake: FakeHypervisor) -> None:
    vm = client.create(REQUEST)
    assert vm == fake.get("r1") == client.create(REQUEST)
    assert client.list() == (vm,)
    setup = GuestSetup((GuestFile("/etc/x", "secret", 0o600, "alice"),), (("true", "a b"),))
    client.setup("r1", setup)
    assert fake.setups["r1"] == [setup]
    bob = VmUser("bob", ("atlas",), {"job": "17"})
    taken = client.use("r1", bob)
    assert (taken.state, taken.request.owner, taken.request.labels) == (VmState.IN_USE, "bob", {"job": "17"})
    assert client.use("r1") == taken
    assert client.destroy("r1").state is VmState.GONE
    assert client.get("r1").state is VmState.GONE


def test_events_and_status(client: HypervisorClient, fake: FakeHypervisor) -> None:
    client.create(REQUEST)
    (event,) = client.events(0, 5.0)
    assert event == fake.said[0]
    assert client.events(event.seq, 0.0) == ()
    assert client.status() == fake.status()


def test_what_is_no_text_keeps_nobody_from_an_answer(client: HypervisorClient, fake: FakeHypervisor) -> None:
    vm = client.create(REQUEST)
    fake.vms["r1"] = replace(vm, reason="\udcff")
    fake.said.append(VmEvent(fake.said[-1].seq + 1, "r1", "guest", {"job": "\ud800", "event": "end"}))
    assert client.get("r1") == client.list()[0] == replace(vm, reason="?")
    assert client.events(0, 0.0)[-1].data == {"job": "?", "event": "end"}


def test_a_vm_is_found_by_its_host_name_too(calling: Any, app: Any, client: HypervisorClient) -> None:
    vm = client.create(REQUEST)
    assert client.get(vm.name) == vm
    with pytest.raises(NotFoundError):
        client.get("nobody")


def test_errors_keep_their_type(client: HypervisorClient, fake: FakeHypervisor) -> None:
    fake.auto_ready = False
    client.create(REQUEST)
    with pytest.raises(StateError):
        client.setup("r1", GuestSetup())
    fake.setup_failure = VirtError(object="guest", reason="did not answer")
    with pytest.raises(VirtError, match="guest: did not answer"):
        client.setup("r1", GuestSetup())


def test_body_and_path_name_the_same_vm(calling: Any, app: Any) -> None:
    with pytest.raises(RequestError, match="about another VM"):
        calling(app, uid=0).call("PUT", "/v1/vms/r2", encode(REQUEST))
    with pytest.raises(RequestError, match=r"body\.resources"):
        calling(app, uid=0).call("PUT", "/v1/vms/r1", {**encode(REQUEST), "resources": {"cpus": "many"}})


def test_others_than_root_see_their_own_vms_and_touch_none(calling: Any, app: Any, client: HypervisorClient) -> None:
    nobody = pwd.getpwnam("nobody")
    client.create(REQUEST)
    client.create(replace(REQUEST, id="mine", owner=nobody.pw_name))
    user = HypervisorClient(calling(app, uid=nobody.pw_uid))
    assert [vm.id for vm in user.list()] == ["mine"]
    assert user.get("mine").id == "mine"
    for stranger in (user, HypervisorClient(calling(app, uid=4_000_000)), HypervisorClient(calling(app))):
        with pytest.raises(NotFoundError, match="VM r1: is not known here"):
            stranger.get("r1")
    assert user.status().ok
    for call in (
        lambda: user.create(REQUEST),
        lambda: user.setup("r1", GuestSetup()),
        lambda: user.use("r1"),
        lambda: user.destroy("r1"),
        lambda: user.events(0, 0.0),
    ):
        with pytest.raises(AuthError, match="only root"):
            call()


def test_metrics(calling: Any, app: Any, client: HypervisorClient) -> None:
    client.create(REQUEST)
    text = calling(app).ask("GET", "/metrics")[1].decode()
    assert 'wnodes_vms{state="READY"} 1.0' in text
    assert 'wnodes_hypervisor_ok{accel="qemu"} 1.0' in text
    assert "wnodes_templates 0.0" in text
    assert "wnodes_templates_bytes 0.0" in text


def test_metrics_tell_what_became_of_log_messages(calling: Any, fake: FakeHypervisor) -> None:
    app = hypervisor_main.application(fake, lambda: {"written": 7, "rate": 2})
    text = calling(app).ask("GET", "/metrics")[1].decode()
    assert 'wnodes_syslog_messages{fate="written"} 7.0' in text
    assert 'wnodes_syslog_messages{fate="rate"} 2.0' in text


def test_metrics_of_a_node_with_its_images_and_what_came_and_went(calling: Any, fake: FakeHypervisor) -> None:
    metrics = VmMetrics("hv1")
    images = (NodeImage("a_b_c", "d" * 64, 1, "ready"), NodeImage("d_e_f", "", 0, "refused"))
    fake.status = lambda: HypervisorStatus(True, images=images)  # type: ignore[method-assign]
    fake.create(REQUEST)
    metrics.observe(fake.destroy("r1"))
    app = hypervisor_main.application(fake, metrics=metrics, cached=lambda: [CacheEntry("d", 700, 0.0, True)] * 2)
    text = calling(app).ask("GET", "/metrics")[1].decode()
    assert 'wnodes_images{node="hv1",state="ready"} 1.0' in text
    assert 'wnodes_images{node="hv1",state="refused"} 1.0' in text
    assert 'wnodes_image_cache_bytes{node="hv1"} 1400.0' in text
    assert 'wnodes_vms_total{flavour="1x512x10",image="worker_debian12_x86_64",node="hv1",outcome="unused"' in text


def test_a_cache_that_can_not_be_read_takes_no_other_figure_away(calling: Any, fake: FakeHypervisor) -> None:
    def cached() -> Any:
        raise UnavailableError(object="image cache", reason="input/output error")

    text = calling(hypervisor_main.application(fake, cached=cached)).ask("GET", "/metrics")[1].decode()
    assert "wnodes_hypervisor_ok" in text
    assert "wnodes_image_cache_bytes" not in text


def test_labels_go_through_http(client: HypervisorClient, fake: FakeHypervisor) -> None:
    client.create(replace(REQUEST, labels={"job": "7"}))
    assert fake.vms["r1"].request.labels == client.get("r1").request.labels == {"job": "7"}


def test_a_console_is_for_root_alone(calling: Any, app: Any, client: HypervisorClient, fake: FakeHypervisor) -> None:
    vm = client.create(REQUEST)
    fake.consoles["r1"] = b"booting\n"
    assert base64.b64decode(client.console(vm.name, -5).data) == b"ting\n"
    with pytest.raises(AuthError):
        HypervisorClient(calling(app, uid=2001)).console("r1", 0)


def test_a_bundle_has_what_the_service_and_this_hypervisor_tell(
    calling: Any, fake: FakeHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "evidence", lambda *units: {"units.txt": lambda: " ".join(units)})
    app = hypervisor_main.application(fake, evidence=lambda: {"status.json": lambda: "{}"})
    told = HypervisorClient(calling(app, names=("manager.wnodes", "head.manager.wnodes"))).bundle()
    assert told == {"units.txt": "wnodes-hypervisor.service libvirtd.service", "status.json": "{}"}
    with pytest.raises(AuthError):
        HypervisorClient(calling(app, uid=2001)).bundle()
