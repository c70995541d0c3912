# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hypervisor offers, and that it survives the loss of its neighbours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.releases import MANIFEST, TAG, release
from tests.unit.plugins.module_utils.hypervisor.node_fixture import (
    Crash,
    Node,
    clone_told,
    crash,
    mount,
    request,
    uuid,
)
from tests.unit.plugins.module_utils.hypervisor.test_lifecycle import PLACES_DOWN, PLACES_UP
from wnodes.engine.pulse import Vitals
from wnodes.hypervisor.maintenance import LIMITS_S, RENEW
from wnodes.model.errors import NotFoundError, RequestError, StateError, VirtError, WnodesError
from wnodes.model.image import Allowed
from wnodes.model.resources import Resources
from wnodes.model.states import VM_MOVES, VmState
from wnodes.model.vm import GuestFile, GuestSetup, Mount, VmUser, used_by
from wnodes.virt.channel import Frame


def test_creating_again_changes_nothing(node: Node) -> None:
    vm = node.make()
    assert node.hypervisor.create(request()) == vm
    assert node.host.started == [uuid()]
    with pytest.raises(StateError, match="other properties"):
        node.hypervisor.create(request(resources=Resources(8, 512)))


def test_what_can_never_be_is_refused_at_once(node: Node, tmp_path: Path) -> None:
    node.run()
    wrong = {
        "no image has this tag": request(tag="other_debian12_x86_64"),
        "not of the form": request(tag="x"),
        "may not see": request(mounts=(Mount("/etc", "/etc"),)),
        "this node has 8192": request(resources=Resources(1, 9000)),
        "request id": request("../x"),
    }
    for reason, bad in wrong.items():
        with pytest.raises(RequestError, match=reason):
            node.hypervisor.create(bad)
    assert node.hypervisor.list() == ()
    assert node.hypervisor.create(request(mounts=(mount(tmp_path),))).state is VmState.PLANNED


def test_unknown_vms_are_not_found(node: Node) -> None:
    for call in (node.hypervisor.get, node.hypervisor.use, node.hypervisor.destroy):
        with pytest.raises(NotFoundError):
            call("nobody")


def test_use_and_destroy_are_idempotent(node: Node) -> None:
    node.make()
    assert node.hypervisor.use("r1") == node.hypervisor.use("r1")
    for _ in range(3):
        node.hypervisor.destroy("r1")
        node.run()
    assert (node.state(), node.host.destroyed) == ("GONE", [uuid()])
    with pytest.raises(StateError, match="must be READY"):
        node.hypervisor.use("r1")


def test_a_vm_made_for_nobody_goes_to_one_user_who_may_use_its_image(node: Node) -> None:
    node.make()
    bob = VmUser("bob", ("atlas",), {"job": "17"})
    with pytest.raises(RequestError, match="label"):
        node.hypervisor.use("r1", VmUser("bob", labels={"job": "a\nb"}))
    taken = node.hypervisor.use("r1", bob)
    assert (taken.state, taken.request) == (VmState.IN_USE, used_by(request(), bob))
    assert node.hypervisor.use("r1", VmUser("bob", labels={"job": "18"})).request.labels == {"job": "18"}
    with pytest.raises(StateError, match="somebody else"):
        node.hypervisor.use("r1", VmUser("carol"))
    assert node.hypervisor.get("r1").request.owner == "bob"


def test_a_vm_made_for_nobody_does_not_go_to_a_user_who_may_not_use_its_image(node: Node) -> None:
    node.directory.set_tags((TAG,), release(replace(MANIFEST, version=2, allowed=Allowed(("bob",), ("atlas",)))))
    node.make(owner="bob")
    with pytest.raises(RequestError, match=r"carol may not use this image.*users bob; groups atlas"):
        node.hypervisor.use("r1", VmUser("carol", ("cms",)))
    assert (node.state(), node.vm().request.owner) == ("READY", "bob")
    assert node.hypervisor.use("r1", VmUser("dave", ("atlas",))).request.owner == "dave"


def test_setup_needs_a_vm_that_is_up_and_tells_what_failed(node: Node) -> None:
    setup = GuestSetup((GuestFile("/etc/x", "it's $(secret)"),), (("true",),))
    node.host.boots = False
    node.make()
    with pytest.raises(StateError):
        node.hypervisor.setup("r1", setup)
    node.host.boot(uuid())
    node.run()
    node.hypervisor.setup("r1", setup)
    assert "'it'\"'\"'s $(secret)'" in node.host.domains[uuid()].scripts[-1]
    node.host.fails_setup = "command failed with exit code 1: true"
    with pytest.raises(VirtError, match="exit code 1: true"):
        node.hypervisor.setup("r1", setup)


def test_events_tell_states_and_what_guests_say(node: Node) -> None:
    node.make()
    last = node.hypervisor.events(0, 0)[-1]
    assert (last.vm, last.kind, last.data) == ("r1", "state", {"state": "READY"})
    node.hypervisor.heard("r1", Frame(1, "start", {"job": "7", "event": "forged"}))
    (event,) = node.hypervisor.events(last.seq, 0)
    assert (event.kind, event.data) == ("guest", {"event": "start", "job": "7"})


def test_a_reader_from_before_a_restart_is_told_the_states(node: Node) -> None:
    node.make()
    node.restart()
    (event,) = node.hypervisor.events(5000, 0)
    assert (event.seq, event.data) == (1, {"state": "READY"})


def test_without_libvirt_nothing_is_lost_and_status_says_so(node: Node) -> None:
    node.make()
    node.host.down = True
    node.hypervisor.create(request("r2"))
    node.run(300)
    status = node.hypervisor.status()
    assert not status.ok
    assert "libvirt: fake host: is down" in status.problems
    assert (node.state(), node.state("r2")) == ("READY", "STARTING")
    node.host.come_back()
    node.run(16)
    assert node.hypervisor.status().ok
    assert (node.state(), node.state("r2")) == ("READY", "READY")
    assert node.host.destroyed == []


def test_without_a_nameserver_nothing_is_lost_and_status_says_so(node: Node) -> None:
    node.make()
    node.nameserver.down = True
    node.run(600)
    node.hypervisor.create(request("r2"))
    node.run(60)
    assert [problem.split(":")[0] for problem in node.hypervisor.status().problems] == ["nameserver"]
    assert (node.state(), node.state("r2"), node.host.destroyed) == ("READY", "PLANNED", [])
    node.nameserver.down = False
    node.run(35)
    assert (node.state(), node.state("r2")) == ("READY", "READY")
    assert node.hypervisor.status().ok


def test_a_node_without_room_or_bridge_says_so(node: Node) -> None:
    node.problems = "there is no bridge br.default"
    node.run(1)
    assert node.hypervisor.status().problems == ("node: there is no bridge br.default",)
    node.problems = ""
    node.run(10)
    assert node.hypervisor.status().ok


def test_a_receiver_that_can_not_listen_is_told_and_keeps_no_vm_from_being_made(tmp_path: Path) -> None:
    node = Node(tmp_path, syslog_listen="10.77.0.1")
    try:
        assert node.hypervisor.syslog_counts() == {}
        receiver = node.hypervisor._syslog
        assert receiver is not None
        receiver.problem = "syslog: can't listen on 10.77.0.1 port 5514"
        assert node.make().state is VmState.READY
        status = node.hypervisor.status()
        assert (status.ok, status.problems) == (True, (receiver.problem,))
        (beat,) = node.directory.heartbeats()
        assert (beat.status["ok"], beat.status["problems"]) == (True, [receiver.problem])
    finally:
        node.hypervisor.stop()
        node.directory.close()


def test_a_vm_that_goes_while_the_nameserver_is_down_gives_its_lease_back_later(node: Node) -> None:
    node.make()
    node.nameserver.down = True
    node.hypervisor.destroy("r1")
    node.run(5)
    assert (node.state(), node.host.domains) == ("RECYCLING", {})
    node.nameserver.down = False
    node.run(16)
    assert node.state() == "GONE"
    assert node.is_clean()


def test_a_restart_leaves_vms_alone(node: Node) -> None:
    node.make()
    node.hypervisor.use("r1")
    node.restart()
    node.run(60)
    assert (node.state(), node.host.started, node.host.destroyed) == ("IN_USE", [uuid()], [])
    assert set(node.listening) == {"r1"}


def test_the_accelerator_is_asked_once(tmp_path: Path) -> None:
    node = Node(tmp_path, accel="kvm")
    try:
        assert node.make().accel == "kvm"
        assert node.hypervisor.status().accel == "kvm"
    finally:
        node.hypervisor.stop()
        node.directory.close()


RESTORING = [f"hypervisor.{name}" for name in ("restore", "nic.done", "give_up", "give_up.done", "template")]
ALL_PLACES = [*PLACES_UP, *PLACES_DOWN, *RESTORING]
PLACES = st.sampled_from([*ALL_PLACES, ""])
CALLS = st.sampled_from(["create", "use", "destroy", "kill", "restart", "outage", "back", "wait", "refuse"])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CALLS, st.integers(0, 2), PLACES), max_size=25))
def test_whatever_happens_moves_are_allowed_and_nothing_stays(
    tmp_path_factory: pytest.TempPathFactory, walk: list[tuple[str, int, str]]
) -> None:
    node = Node(tmp_path_factory.mktemp("walk"), template_cache_mib=8192)
    try:
        for call, number, place in walk:
            act(node, call, f"r{number}", place)
        for place in ALL_PLACES:
            node.failpoints.set(place, lambda: None)
        node.host.come_back()
        node.run(1)
        ways = {
            vm.id: vm.path == "restore" for vm in node.hypervisor.list() if vm.state in (VmState.READY, VmState.IN_USE)
        }
        assert ways == {vm_id: clone_told(node, vm_id) for vm_id in ways}
        for vm in node.hypervisor.list():
            node.hypervisor.destroy(vm.id)
        node.run(node.config.lease_ttl_s + node.config.orphan_delay_s + 60)
        assert {vm.state for vm in node.hypervisor.list()} <= {VmState.GONE}
        for vm in node.hypervisor.list():
            names = [VmState(move.state) for move in vm.history]
            assert all(new in VM_MOVES[old] for old, new in zip(names, names[1:]))
        assert node.is_clean()
    finally:
        node.hypervisor.stop()
        node.directory.close()


def act(node: Node, call: str, vm_id: str, place: str) -> None:
    if place:
        node.failpoints.set(place, crash)
    calls = {
        "create": lambda: node.hypervisor.create(request(vm_id)),
        "use": lambda: node.hypervisor.use(vm_id),
        "destroy": lambda: node.hypervisor.destroy(vm_id),
        "kill": lambda: uuid(vm_id) in node.host.domains and node.host.kill(uuid(vm_id)),
        "restart": node.restart,
        "outage": lambda: setattr(node.host, "down", True),
        "back": node.host.come_back,
        "wait": lambda: node.run(3),
        "refuse": lambda: setattr(node.host, "refuses_to_restore", "" if node.host.refuses_to_restore else "no"),
    }
    try:
        calls[call]()
        node.run(0.6)
    except Crash:
        node.restart()
    except WnodesError:
        pass


def test_whoever_counts_vms_hears_of_those_that_are_ready_or_gone(node: Node) -> None:
    node.make()
    node.hypervisor.destroy("r1")
    assert node.is_clean()
    assert [vm.state for vm in node.observed] == [VmState.READY, VmState.GONE]


def test_the_site_hears_how_large_and_busy_a_node_is_and_where_managers_reach_it(tmp_path: Path) -> None:
    node = Node(tmp_path, manage_listen="0.0.0.0:8444")
    node.run(10)
    (beat,) = node.directory.heartbeats()
    assert set(beat.status["node"]) == {"cpus", "load", "memory_mib", "available_mib"}
    assert beat.status["manage"] == f"{beat.host}:8444"
    node.hypervisor.stop()
    node.directory.close()


def test_a_bundle_has_the_domains_of_vms_that_are_there(node: Node) -> None:
    node.make()
    parts = node.hypervisor.evidence()
    assert {"status.json", "config.json", "domains.txt", "domain-r1.xml"} == set(parts)
    assert '"host"' in parts["config.json"]()
    node.hypervisor.destroy("r1")
    node.run(5)
    assert "domain-r1.xml" not in node.hypervisor.evidence()


def test_the_console_of_a_vm_is_read_where_its_files_are(node: Node) -> None:
    vm = node.make()
    with pytest.raises(NotFoundError, match="console of VM r1"):
        node.hypervisor.console(vm.id, 0)
    with pytest.raises(NotFoundError):
        node.hypervisor.console("r2", 0)


def test_a_loop_that_is_stuck_is_told_and_closes_no_node(node: Node) -> None:
    node.run()
    node.hypervisor.pulse.watch("upkeep", lambda: Vitals("has lost 1 of its threads"))
    status = node.hypervisor.status()
    assert (status.ok, status.problems) == (True, ("loop upkeep has lost 1 of its threads",))


def test_only_steps_that_there_are_have_limits_and_the_renewal_has_one(node: Node) -> None:
    assert {RENEW} < set(LIMITS_S) < set(node.hypervisor._maintenance.steps)
