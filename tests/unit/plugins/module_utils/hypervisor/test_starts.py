# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs are restored where there is a template, and come up whatever is wrong with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.hypervisor.node_fixture import Node, clone_told, mount, request, uuid
from wnodes.hypervisor.lifecycle import RESTORED_S
from wnodes.model.errors import CommandFailed, ImageError, NotFoundError, UnavailableError
from wnodes.virt.template import DISK, MEMORY

EFFECTS = ["lease", "overlay", "restore", "nic", "virtiofs", "personalise"]
PLACES = [f"hypervisor.{name}{part}" for name in EFFECTS for part in ("", ".done")]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node with one template, of which nothing runs."""
    node = Node(tmp_path, template_cache_mib=8192)
    node.make("r0")
    node.run(10)
    node.hypervisor.destroy("r0")
    node.run()
    assert len(node.templates) == 1
    node.host.started.clear()
    node.host.destroyed.clear()
    yield node
    node.hypervisor.stop()
    node.directory.close()


def is_cold(node: Node, vm_id: str = "r1") -> bool:
    """Return whether a VM is READY, was booted and is treated as such."""
    assert node.state(vm_id) == "READY"
    cold = node.vm(vm_id).path == "cold"
    assert clone_told(node, vm_id) is not cold
    assert cold is (uuid(vm_id) in node.host.started)
    return cold


def test_a_vm_is_restored_whole_and_made_itself(node: Node, tmp_path: Path) -> None:
    vm = node.make(mounts=(mount(tmp_path),))
    assert (vm.path, node.host.restored, node.host.started) == ("restore", [uuid()], [])
    assert [move.state for move in vm.history] == ["PLANNED", "IMAGE", "STARTING", "PERSONALISING", "READY"]
    domain = node.host.domains[uuid()]
    assert domain.domain is not None
    assert tuple(domain.attached) == domain.domain.interfaces + domain.domain.filesystems
    assert domain.domain.disks[0].backing[0] == (str(node.templates[0] / DISK), "qcow2")
    assert clone_told(node)
    assert set(node.listening) == {"r1"}
    node.hypervisor.destroy("r1")
    assert node.is_clean()


def test_the_first_of_a_kind_is_booted(node: Node) -> None:
    node.make("r2", resources=request().resources.__class__(2, 512))
    assert is_cold(node, "r2")


@pytest.mark.parametrize("place", PLACES)
def test_a_crash_on_the_way_up_converges_to_a_clone_that_knows_it(node: Node, tmp_path: Path, place: str) -> None:
    node.hypervisor.create(request(mounts=(mount(tmp_path),)))
    assert node.crash_at(place)
    node.restart()
    node.run()
    assert not is_cold(node)
    assert (node.host.restored, node.host.destroyed) == ([uuid()], [])
    assert len(node.host.domains[uuid()].attached) == 2
    assert list(node.host.domains) == [uuid()]


@pytest.mark.parametrize("place", PLACES)
def test_a_crash_and_no_template_any_more(node: Node, place: str) -> None:
    node.hypervisor.create(request())
    assert node.crash_at(place)
    shutil.rmtree(node.templates[0])
    node.restart()
    node.run(2)
    # what ran already is a clone all the same
    assert is_cold(node) is not bool(node.host.restored)
    node.hypervisor.destroy("r1")
    node.run(1)
    assert node.is_clean()


@pytest.mark.parametrize("place", ["give_up", "give_up.done", "overlay", "overlay.done", "start", "start.done"])
@pytest.mark.parametrize("attached", [False, True])
def test_a_crash_on_the_way_from_clone_to_boot_never_mixes_them(node: Node, place: str, attached: bool) -> None:
    def refuse(*_args: object) -> None:
        raise NotFoundError(object="domain", reason="is gone")

    node.host.refuses_to_restore = "" if attached else "out of memory"
    node.host.attach = refuse  # type: ignore[assignment]
    node.hypervisor.create(request())
    if place.startswith("overlay"):  # that of the boot, not that of the clone
        node.failpoints.set("hypervisor.give_up.done", lambda: node.failpoints.set(f"hypervisor.{place}", _die))
        with pytest.raises(_Died):
            node.run(5)
    else:
        assert node.crash_at(f"hypervisor.{place}")
    node.restart()
    node.run(5)
    assert is_cold(node)
    assert node.vm().path == "cold"


class _Died(BaseException):
    pass


def _die() -> None:
    raise _Died


def _damage(node: Node) -> None:
    os.truncate(node.templates[0] / MEMORY, 10)


def _retire(node: Node) -> None:
    """Let the template go in the middle of a restore."""
    folder = node.templates[0]
    node.failpoints.set("hypervisor.restore", lambda: shutil.rmtree(folder))


def _ends(node: Node) -> None:
    def attach(uuid: str, _device: object) -> None:
        node.host.kill(uuid)
        raise NotFoundError(object="domain", reason="is gone")

    node.host.attach = attach  # type: ignore[assignment]


def _refuses(node: Node) -> None:
    node.host.refuses_to_restore = "out of memory"


def _host_does_not_survive_it(node: Node) -> None:
    def attach(*_args: object) -> None:
        raise UnavailableError(object="libvirt", reason="connection reset")

    node.host.attach = attach  # type: ignore[assignment]


def _never_answers(node: Node) -> None:
    """The guest is restored and says nothing; one that boots does."""
    boot = node.host.boot
    node.host.boot = lambda uuid: boot(uuid) if uuid in node.host.started else None  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_damage, "memory.save has changed"),
        (_retire, "memory.save"),
        (_ends, "is gone"),
        (_refuses, "out of memory"),
        (_host_does_not_survive_it, "connection reset"),
        (_never_answers, "did not answer within 30 s"),
    ],
)
def test_what_can_not_be_restored_is_booted_and_told(
    node: Node, spoil: Callable[[Node], None], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(node)
    node.make()
    node.run(RESTORED_S + 5)
    assert is_cold(node)
    assert "WARNING" in [record.levelname for record in caplog.records if said in record.getMessage()]
    assert list(node.host.domains) == [uuid()]


def test_a_damaged_template_is_built_anew(node: Node) -> None:
    _damage(node)
    node.make()
    node.run(10)
    node.make("r2")
    assert (is_cold(node), is_cold(node, "r2"), len(node.templates)) == (True, False, 1)


def test_one_that_does_not_fit_is_thrown_away_at_once(node: Node) -> None:
    def restore(*_args: object) -> None:
        raise ImageError(object="saved domain", reason="each disk must be vda")

    node.available_mib = 0  # none is built anew
    node.host.restore = restore  # type: ignore[method-assign]
    node.make()
    assert (is_cold(node), node.templates) == (True, [])


def test_a_template_that_fails_twice_in_a_row_is_built_anew_after_a_while(node: Node) -> None:
    before = node.templates[0].stat().st_ino
    _refuses(node)
    node.make("r1")
    assert node.templates[0].stat().st_ino == before
    node.make("r2")
    assert (is_cold(node, "r1"), is_cold(node, "r2"), node.templates) == (True, True, [])
    node.host.refuses_to_restore = ""
    node.make("r3")
    assert is_cold(node, "r3")
    node.run(70)
    node.hypervisor.destroy("r3")
    node.run()
    node.make("r4")
    assert not is_cold(node, "r4")


def test_one_that_works_in_between_is_kept(node: Node) -> None:
    before = node.templates[0].stat().st_ino
    for number, refused in enumerate(["no", "", "no"]):
        node.host.refuses_to_restore = refused
        node.make("r1" + str(number))
        assert is_cold(node, "r1" + str(number)) is bool(refused)
        node.hypervisor.destroy("r1" + str(number))
        node.run(1)
    assert node.templates[0].stat().st_ino == before


def test_clones_that_can_not_be_made_what_they_should_be_speak_against_their_template(node: Node) -> None:
    node.host.lies = {"hostname": "localhost"}
    assert node.make("r1").state.value == "BROKEN"
    assert len(node.templates) == 1
    assert node.make("r2").state.value == "BROKEN"
    assert node.templates == []


def test_while_the_host_does_not_answer_nothing_is_decided(node: Node) -> None:
    node.failpoints.set("hypervisor.restore", lambda: setattr(node.host, "down", True))
    node.make()
    node.run(300)
    assert (node.state(), node.vm().path) == ("STARTING", "restore")
    node.host.come_back()
    node.run(16)
    assert not is_cold(node)


def test_without_room_for_its_disks_a_vm_waits(node: Node) -> None:
    node.tools.error = CommandFailed(object="qemu-img", reason="No space left on device")
    assert node.make().state.value == "STARTING"
    assert "No space left" in node.vm().reason
    node.tools.error = None
    node.run(2)
    assert not is_cold(node)


def test_a_vm_that_was_booted_before_templates_were_known_is_no_clone(node: Node) -> None:
    node.host.refuses_to_restore = "no"
    node.hypervisor.create(request())
    assert node.crash_at("hypervisor.start.done")
    vm = node.vm()
    node.hypervisor._vms.change(vm, path="")
    node.restart()
    node.run()
    assert is_cold(node)
