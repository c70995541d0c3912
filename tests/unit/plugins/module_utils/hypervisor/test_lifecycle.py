# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a VM's lifecycle: each can fail, each can be the last one before a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.hypervisor.node_fixture import Node, mount, request, uuid
from wnodes.hypervisor.lifecycle import CLOCK_S, UP_POLL_S
from wnodes.model.clock import FakeClock
from wnodes.model.errors import CommandFailed, ImageError, UnavailableError
from wnodes.model.image import CachedImage, Image
from wnodes.model.resources import Resources
from wnodes.virt.guest import read_assignments
from wnodes.virt.surroundings import Surroundings

EFFECTS_UP = ["lease", "overlay", "start", "personalise"]
EFFECTS_DOWN = ["destroy", "release"]
PLACES_UP = [f"hypervisor.{name}{part}" for name in EFFECTS_UP for part in ("", ".done")]
PLACES_DOWN = [f"hypervisor.{name}{part}" for name in EFFECTS_DOWN for part in ("", ".done")]


def states(node: Node, vm_id: str = "r1") -> list[str]:
    return [move.state for move in node.vm(vm_id).history]


def test_the_whole_lifecycle(node: Node, tmp_path: Path) -> None:
    vm = node.make(resources=Resources(2, 512, 1024), mounts=(mount(tmp_path),))
    assert states(node) == ["PLANNED", "IMAGE", "STARTING", "PERSONALISING", "READY"]
    assert (vm.name, vm.accel, vm.uuid) == ("vwn-100", "qemu", uuid())
    domain = node.host.domains[uuid()].domain
    assert domain is not None
    assert (domain.memory_mib, domain.vcpus) == (node.config.overheads.guest(Resources(2, 512)).memory_mib, 2)
    assert [argv[0] for argv in node.tools.argvs] == ["qemu-img", "mke2fs"]
    assert set(node.listening) == {"r1"}
    node.hypervisor.use("r1")
    node.hypervisor.destroy("r1")
    assert node.is_clean()
    assert states(node)[-3:] == ["IN_USE", "RECYCLING", "GONE"]


@pytest.mark.parametrize("place", PLACES_UP)
def test_a_crash_on_the_way_up_converges(node: Node, place: str) -> None:
    node.hypervisor.create(request())
    assert node.crash_at(place)
    node.restart()
    node.run()
    assert node.state() == "READY"
    assert list(node.host.domains) == [uuid()]
    assert [lease.holder for lease in node.directory.leases()] == ["r1"]
    node.hypervisor.destroy("r1")
    assert node.is_clean()


@pytest.mark.parametrize("place", PLACES_UP)
def test_what_is_destroyed_after_a_crash_on_the_way_up_leaves_nothing(node: Node, place: str) -> None:
    node.hypervisor.create(request())
    assert node.crash_at(place)
    node.restart()
    node.hypervisor.destroy("r1")
    # a lease that was given but not noted down is not renewed, and runs out
    node.run(node.config.lease_ttl_s + 1)
    assert node.state() == "GONE"
    assert node.is_clean()


@pytest.mark.parametrize("place", PLACES_DOWN)
def test_a_crash_on_the_way_down_converges(node: Node, place: str) -> None:
    node.make()
    node.hypervisor.destroy("r1")
    assert node.crash_at(place)
    node.restart()
    node.run()
    assert node.state() == "GONE"
    assert node.is_clean()


def test_an_image_that_is_not_what_it_must_be_breaks_the_vm(node: Node) -> None:
    node.images.error = ImageError(object="image", reason="wrong digest")
    assert node.make().state.value == "BROKEN"
    assert "wrong digest" in node.vm().reason
    node.hypervisor.destroy("r1")
    assert node.is_clean()


def test_a_tag_that_went_away_breaks_the_vm(node: Node) -> None:
    node.nameserver.down = True
    node.make()
    node.nameserver.down = False
    node.directory.remove_tag(request().tag)
    node.run(5)
    assert node.state() == "BROKEN"
    assert "is not known" in node.vm().reason


def test_a_domain_that_can_not_be_started_breaks_the_vm(node: Node) -> None:
    node.host.refuses = "no such bridge"
    assert node.make().state.value == "BROKEN"
    assert "no such bridge" in node.vm().reason
    node.hypervisor.destroy("r1")
    assert node.is_clean()


def test_an_overlay_that_can_not_be_made_is_tried_again(node: Node) -> None:
    node.tools.error = CommandFailed(object="qemu-img", reason="No space left on device")
    vm = node.make()
    assert (vm.state.value, "No space left" in vm.reason) == ("STARTING", True)
    node.tools.error = None
    node.run(2)
    assert (node.state(), node.vm().reason) == ("READY", "")


def test_a_guest_that_never_boots_is_broken_with_its_console(node: Node) -> None:
    node.host.boots = False
    node.make()
    Path(node.files.of("r1", False).console).write_text("Booting\x1b[1m\r\nKernel panic - not syncing\n")
    node.run(node.config.boot_timeout_s + 2)
    assert node.state() == "BROKEN"
    assert "did not answer within 180 s" in node.vm().reason
    assert node.vm().reason.endswith("console:\nBooting\nKernel panic - not syncing")
    node.hypervisor.destroy("r1")
    assert node.is_clean()


def test_the_agent_coming_up_is_an_event(node: Node) -> None:
    node.host.boots = False
    node.make()
    assert node.state() == "STARTING"
    node.host.boot(uuid())
    node.run()
    assert node.state() == "READY"


def test_qemu_that_dies_while_booting_breaks_the_vm_at_once(node: Node) -> None:
    node.host.boots = False
    node.make()
    node.host.kill(uuid())
    node.run()
    assert (node.state(), node.host.started) == ("BROKEN", [uuid()])


@pytest.mark.parametrize("used", [False, True])
def test_qemu_that_dies_later_breaks_the_vm_at_once(node: Node, used: bool) -> None:
    node.make()
    if used:
        node.hypervisor.use("r1")
    node.host.kill(uuid())
    node.run()
    assert node.state() == "BROKEN"
    assert node.hypervisor.events(0, 0)[-1].data == {"state": "BROKEN"}


def test_a_death_that_nobody_told_is_found(node: Node) -> None:
    node.make()
    node.host.domains.clear()
    node.run(31)
    assert node.state() == "BROKEN"


def test_a_guest_that_is_not_as_it_should_be_is_broken(node: Node) -> None:
    node.host.lies = {"hostname": "localhost", "clock": "1"}
    assert node.make().state.value == "BROKEN"
    assert "hostname is localhost, should be vwn-100" in node.vm().reason
    assert "clock is off" in node.vm().reason


def test_an_agent_that_falls_silent_breaks_the_personalisation(node: Node) -> None:
    node.hypervisor.create(request())
    node.failpoints.set("hypervisor.personalise", lambda: setattr(node.host, "mute", True))
    node.run()
    assert node.state() == "BROKEN"


def test_the_broken_are_taken_away_in_the_end(node: Node) -> None:
    node.host.refuses = "no"
    node.make()
    node.run(node.config.broken_keep_s + 1)
    assert node.state() == "GONE"
    assert node.is_clean()


def test_no_more_than_so_many_start_at_once_and_the_oldest_first(node: Node) -> None:
    node.host.boots = False
    for number in range(4):
        node.hypervisor.create(request(f"r{number}"))
    node.run(2)
    assert [node.state(f"r{number}") for number in range(4)] == ["STARTING", "STARTING", "IMAGE", "IMAGE"]
    node.host.boot(uuid("r1"))
    node.run(1)
    assert [node.state(f"r{number}") for number in range(4)] == ["STARTING", "READY", "STARTING", "IMAGE"]


@pytest.mark.parametrize("failing", ["lease", "overlay", "start", "personalise"])
def test_failed_creates_leak_no_lease(node: Node, failing: str) -> None:
    def fail() -> None:
        raise UnavailableError(object="test", reason="failed")

    for number in range(20):
        vm_id = f"v{number}"
        node.failpoints.set(f"hypervisor.{failing}", fail)
        node.hypervisor.create(request(vm_id))
        node.run()
        node.hypervisor.destroy(vm_id)
        node.run()
        assert node.state(vm_id) == "GONE"
    assert node.is_clean()
    assert len(node.directory.leases()) == 0


def test_a_full_pool_makes_the_next_one_wait(node: Node) -> None:
    for number in range(5):
        node.make(f"r{number}")
    assert (node.state("r4"), "waiting" in node.vm("r4").reason) == ("PLANNED", True)
    node.hypervisor.destroy("r0")
    node.run(20)
    assert node.state("r4") == "READY"


def test_destroying_what_is_being_made_wins(node: Node) -> None:
    node.hypervisor.create(request())
    node.failpoints.set("hypervisor.start", lambda: node.hypervisor.destroy("r1") and None)
    node.run()
    assert node.state() == "GONE"
    assert node.is_clean()


def test_a_long_download_leaves_threads_to_others(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.host.boots = False
    ensure, depth = node.images.ensure, []

    def slow(image: Image) -> CachedImage:
        depth.append(len(depth))
        if len(depth) == 1:
            for number in range(1, 5):  # what other threads would do meanwhile
                node.hypervisor.run_due()
                assert len(depth) <= node.config.max_starting, number
        return ensure(image)

    monkeypatch.setattr(node.images, "ensure", slow)
    for number in range(4):
        node.hypervisor.create(request(f"r{number}"))
    node.run(1)
    assert [node.state(f"r{number}") for number in range(4)] == ["STARTING", "STARTING", "IMAGE", "IMAGE"]


def test_a_busy_node_gives_a_guest_time_to_boot(node: Node) -> None:
    node.busy, node.host.boots = 3.0, False
    node.make()
    node.run(2.5 * node.config.boot_timeout_s)
    assert states(node)[-1] == "STARTING"
    node.busy = 1.0
    node.run(5)
    assert states(node)[-1] == "BROKEN"


def test_a_guest_gets_what_its_node_has_by_then(node: Node) -> None:
    node.surroundings = Surroundings(hosts=("192.0.2.9 licences",))
    node.make()
    assert read_assignments(node.host.domains[uuid()].scripts[0])["hosts"] == "192.0.2.9 licences"


def test_a_clock_that_falls_behind_while_its_vm_runs_is_set_right(node: Node) -> None:
    node.make()
    domain = node.host.domains[uuid()]
    node.run(60)
    before = len(domain.scripts)
    domain.clock -= 0.4
    node.run(3 * CLOCK_S)
    assert len(domain.scripts) == before
    domain.clock -= 4.0
    node.run(CLOCK_S + UP_POLL_S)
    assert (len(domain.scripts), domain.clock) == (before + 1, pytest.approx(0.0, abs=0.1))


def test_a_guest_that_does_not_tell_its_time_is_left_alone(node: Node) -> None:
    node.make()
    node.host.mute = True
    node.run(2 * CLOCK_S)
    assert states(node)[-1] == "READY"


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_guest_has_its_time_to_boot_whatever_the_clock_says_after_a_restart(node: Node, hours: int) -> None:
    node.host.boots = False
    node.make()
    node.clock = FakeClock(node.clock.wall() + hours * 3600)
    node.restart()
    node.run(node.config.boot_timeout_s - 5)
    assert node.state() == "STARTING"
    node.run(10)
    assert node.state() == "BROKEN"
