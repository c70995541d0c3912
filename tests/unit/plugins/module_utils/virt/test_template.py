# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A template is built whole or not at all, and used only while all that it depends on is as it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.virt.template_fixture import Node, killed_build
from wnodes.model.errors import CommandFailed, ImageError, UnavailableError, VirtError
from wnodes.model.resources import Resources
from wnodes.virt.domain import Metadata
from wnodes.virt.policy import domain_uuid
from wnodes.virt.template import DESCRIPTION, DISK, MEMORY, QUIET_LOOKS, SETTLE_S, Templates


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path, scratch_mib=100)


def left(node: Node) -> list[str]:
    return sorted(os.listdir(node.folder / "templates"))


def test_a_template_is_built_once_and_found_again(node: Node) -> None:
    assert node.templates.find(*node.kind) is None
    built = node.templates.build(*node.kind)
    assert node.templates.build(*node.kind) == node.templates.find(*node.kind) == built
    assert node.new_templates().find(*node.kind) == built
    assert len(node.host.started) == 1
    assert node.host.domains == {}
    assert left(node) == [built.description.shape.key]
    assert sorted(os.listdir(built.folder)) == [DISK, MEMORY, "scratch.raw", DESCRIPTION]


def test_what_it_boots_has_neither_card_nor_file_systems_but_room_for_them(node: Node) -> None:
    seen = []
    node.host.subscribe(lambda event: seen.append(node.host.domains.get(event.uuid)))
    node.templates.build(*node.kind)
    (booted,) = [fake.domain for fake in seen if fake is not None]
    assert booted is not None
    assert (booted.interfaces, booted.filesystems) == ((), ())
    assert booted.root_ports >= len(booted.disks) + 3 + 10
    assert booted.disks[0].backing == node.image.chain
    assert booted.metadata.request == booted.name


def test_only_root_reads_the_memory_and_qemu_the_disk(node: Node) -> None:
    folder = Path(node.templates.build(*node.kind).folder)
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {DISK: 0o444, MEMORY: 0o400, "scratch.raw": 0o400, DESCRIPTION: 0o444}
    assert folder.stat().st_mode & 0o777 == 0o711


def test_all_that_memory_depends_on_is_in_the_key(node: Node) -> None:
    image, resources, accel = node.kind
    kinds = [
        node.kind,
        (image, resources, "kvm"),
        (image, Resources(2, 512, 100), accel),
        (image, Resources(1, 513, 100), accel),
        (image, Resources(1, 512, 101), accel),
        (image, Resources(1, 512), accel),
        (replace(image, disk=image.base, base=""), resources, accel),
        (replace(image, image=replace(image.image, digest="f" * 64)), resources, accel),
        (replace(image, image=replace(image.image, cmdline="quiet")), resources, accel),
    ]
    keys = [node.templates.shape(*kind).key for kind in kinds]
    for changed in ({"qemu": "8.0.0"}, {"libvirt": "10.0.0"}, {"cpu": "another"}):
        before, node.host.made_of = node.host.made_of, replace(node.host.made_of, **changed)
        keys.append(node.templates.shape(*node.kind).key)
        node.host.made_of = before
    assert len(set(keys)) == len(kinds) + 3
    assert node.templates.shape(*node.kind).key == keys[0]


def test_a_busy_guest_is_waited_for(node: Node) -> None:
    node.host.busy = 0.5
    looks = []
    node.host.cpu_seconds = lambda uuid, real=node.host.cpu_seconds: (  # type: ignore[method-assign]
        looks.append(uuid),
        setattr(node.host, "busy", 0.5 if len(looks) < 10 else 0.05),
        real(uuid),
    )[2]
    assert node.templates.build(*node.kind).description.settled
    assert len(looks) == 9 + QUIET_LOOKS


def test_a_guest_that_never_settles_is_saved_in_the_end(node: Node) -> None:
    node.host.busy = 0.5
    built = node.templates.build(*node.kind)
    assert not built.description.settled
    assert SETTLE_S < built.description.seconds["settle"] < SETTLE_S + 5


def test_a_guest_that_gets_no_processor_is_not_taken_for_quiet(node: Node) -> None:
    # it wants half of one, and has a twelfth
    node.busy, node.host.busy = 6.0, 0.5 / 6
    built = node.templates.build(*node.kind)
    assert not built.description.settled
    assert 6 * SETTLE_S < built.description.seconds["settle"] < 6 * SETTLE_S + 5


def test_a_guest_on_a_busy_node_is_given_time_to_boot(node: Node) -> None:
    node.busy, node.host.boots = 3.0, False
    begun, wait = node.clock.now(), node.clock.advance

    def advance(seconds: float) -> None:
        wait(seconds)
        if node.clock.now() - begun > 150.0:
            node.host.boots = True
            for domain in node.host.domains.values():
                domain.booted = True

    node.clock.advance = advance  # type: ignore[method-assign]
    assert node.new_templates().build(*node.kind).description.seconds["boot"] > 150.0


def _never_boots(node: Node) -> None:
    node.host.boots = False


def _is_refused(node: Node) -> None:
    node.host.refuses = "no"


def _cant_be_saved(node: Node) -> None:
    def save(uuid: str, path: str) -> None:
        Path(path).write_bytes(b"LibvirtQemudPart")
        raise VirtError(object="save", reason="disk full")

    node.host.save = save  # type: ignore[method-assign]


def _is_no_save_file(node: Node) -> None:
    node.host.save = lambda uuid, path: (Path(path).write_bytes(b"x"), None)[1]  # type: ignore[method-assign]


def _has_no_tools(node: Node) -> None:
    def run(*_args: object, **_more: object) -> None:
        raise CommandFailed(object="qemu-img", reason="exit code 1")

    node.templates._run = run  # type: ignore[assignment]


@pytest.mark.parametrize("spoil", [_never_boots, _is_refused, _cant_be_saved, _is_no_save_file, _has_no_tools])
def test_a_build_that_fails_leaves_nothing(node: Node, spoil: Callable[[Node], None]) -> None:
    spoil(node)
    with pytest.raises((VirtError, ImageError, CommandFailed)):
        node.templates.build(*node.kind)
    assert left(node) == []
    assert node.host.domains == {}


def test_a_guest_that_dies_while_it_boots_is_not_waited_for(node: Node) -> None:
    node.host.boots = False
    real = node.host.start
    node.host.start = lambda domain: (real(domain), node.host.kill(domain.uuid))[1]  # type: ignore[method-assign]
    begun = node.clock.now()
    with pytest.raises(VirtError, match="ended while it booted"):
        node.templates.build(*node.kind)
    assert node.clock.now() == begun


def test_what_a_killed_build_left_is_cleared_away(node: Node) -> None:
    killed_build(node.host, lambda: node.templates.build(*node.kind))
    assert left(node) == [f".{node.templates.shape(*node.kind).key}.partial"]
    assert len(node.host.domains) == 1
    assert node.templates.find(*node.kind) is None
    assert node.templates.all() == {}
    built = node.templates.build(*node.kind)
    assert left(node) == [built.description.shape.key]
    assert node.host.domains == {}


def _edit(path: Path, change: Callable[[dict], object]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.unlink()
    path.write_text(json.dumps(data))


def _same_look(path: Path, content: bytes) -> None:
    before = path.stat()
    path.unlink()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: os.truncate(f / MEMORY, 100), "memory.save has changed since it was built: 100 bytes"),
        (lambda f: _same_look(f / MEMORY, (f / MEMORY).read_bytes()[:-1] + b"x"), "memory.save is not what was"),
        (lambda f: _same_look(f / DISK, (f / DISK).read_bytes().swapcase()), "disk.qcow2 is not what was"),
        (lambda f: (f / "scratch.raw").unlink(), "scratch.raw is missing"),
        (lambda f: (f.parent.parent / "base.qcow2").write_text("another"), "base.qcow2 has changed"),
        (lambda f: (f / DESCRIPTION).unlink(), "has no description"),
        (lambda f: _edit(f / DESCRIPTION, lambda d: d.pop("sums")), "can't be read"),
        (lambda f: _edit(f / DESCRIPTION, lambda d: d.update(sums={})), "no disk or no memory"),
        (lambda f: _edit(f / DESCRIPTION, lambda d: d["stamps"].clear()), "no disk or no memory"),
        (lambda f: _edit(f / DESCRIPTION, lambda d: d.update(machine="pc-q35-6.0")), "was not saved of a pc-q35-6.0"),
        (lambda f: _edit(f / DESCRIPTION, lambda d: d["shape"].update(qemu="1")), "describes another template"),
    ],
)
def test_a_broken_template_is_refused(node: Node, spoil: Callable[[Path], None], said: str) -> None:
    spoil(Path(node.templates.build(*node.kind).folder))
    with pytest.raises(ImageError, match=said) as caught:
        node.new_templates().find(*node.kind)
    assert caught.value.hint
    assert not caught.value.transient
    node.templates.remove(node.templates.shape(*node.kind).key)
    node.image = node._image()
    assert node.templates.find(*node.kind) is None


def test_one_that_changes_while_it_is_in_use_is_refused_too(node: Node) -> None:
    built = node.templates.build(*node.kind)
    os.truncate(built.memory, 100)
    with pytest.raises(ImageError):
        node.templates.find(*node.kind)


def test_one_that_is_removed_is_gone_with_its_bytes(node: Node) -> None:
    built = node.templates.build(*node.kind)
    assert [kept.description for kept in node.templates.all().values()] == [built.description]
    assert node.templates.remove(built.description.shape.key) > 0
    assert node.templates.remove(built.description.shape.key) == 0
    assert left(node) == []
    assert node.templates.all() == {}


def test_what_cant_be_read_is_listed_all_the_same(node: Node) -> None:
    built = node.templates.build(*node.kind)
    os.unlink(os.path.join(built.folder, DESCRIPTION))
    ((key, kept),) = node.templates.all().items()
    assert (key, kept.description) == (built.description.shape.key, None)
    assert kept.size > 0


def test_what_is_used_is_known_after_a_restart(node: Node) -> None:
    built = node.templates.build(*node.kind)
    (kept,) = node.templates.all().values()
    assert kept.used == built.description.built
    node.clock.advance(100)
    node.templates.record_use(built)
    (kept,) = node.new_templates().all().values()
    assert kept.used == node.clock.now() > built.description.built
    assert node.new_templates().find(*node.kind) == built


def test_what_was_killed_is_cleared_with_its_domain_and_nothing_else(node: Node) -> None:
    built = node.templates.build(*node.kind)
    for name in (".abc.partial", ".def.gone"):
        (node.folder / "templates" / name).mkdir()
    metadata = Metadata("", "template.abc", "", "", "", 0)
    for request in ("template.abc", "template.def"):
        node.host.add_foreign(domain_uuid(request), request, metadata)
    node.templates.clear()
    assert left(node) == [built.description.shape.key]
    assert list(node.host.domains) == [domain_uuid("template.def")]


def test_while_it_is_built_its_domain_is_told(node: Node) -> None:
    told = []
    node.host.subscribe(lambda _event: told.append(node.templates.building))
    built = node.templates.build(*node.kind)
    assert set(told) == {f"template.{built.description.shape.key}"}
    assert node.templates.building == ""


def test_the_image_may_warm_itself_up(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    node.host.fails_setup = "warm-up: exit code 7"
    scripts = []
    node.host.save = lambda uuid, path, save=node.host.save: (  # type: ignore[method-assign]
        scripts.extend(node.host.domains[uuid].scripts),
        save(uuid, path),
    )[1]
    node.templates.build(*node.kind)
    assert "/usr/libexec/wnodes/warm-up" in scripts[0]
    assert "warm-up: exit code 7" in caplog.text


def test_a_host_that_is_down_is_no_fault_of_the_template(node: Node) -> None:
    node.templates.build(*node.kind)
    node.host.down = True
    with pytest.raises(UnavailableError):
        node.templates.find(*node.kind)


def test_without_a_folder_there_are_none(node: Node) -> None:
    assert Templates(str(node.folder / "no"), node.host, node.templates._overheads, node.clock).all() == {}
