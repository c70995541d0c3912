# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates are built when nobody minds, and go when they are of no use."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.releases import MANIFEST, TAG, release
from tests.unit.plugins.module_utils.hypervisor.node_fixture import Node, request, uuid
from tests.unit.plugins.module_utils.virt.template_fixture import killed_build
from wnodes.hypervisor.api import TemplateStatus
from wnodes.hypervisor.config import TemplateFlavour
from wnodes.hypervisor.templates import LOOK_S, MARGIN_MIB, TEMPLATES
from wnodes.model.disk import DiskSpace
from wnodes.model.errors import VirtError
from wnodes.model.resources import Resources
from wnodes.virt.template import DESCRIPTION, MEMORY

NEW = release(replace(MANIFEST, version=2, disk=replace(MANIFEST.disk, digest="e" * 64)))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path, template_cache_mib=8192)
    yield node
    node.hypervisor.stop()
    node.directory.close()


def built(node: Node, vm_id: str = "r0", cpus: int = 1) -> Path:
    """Let a VM come and go; return the template that it left."""
    before = node.templates
    node.make(vm_id, resources=Resources(cpus, 512))
    node.run(LOOK_S)
    node.hypervisor.destroy(vm_id)
    node.run()
    (new,) = [folder for folder in node.templates if folder not in before]
    return new


def test_a_template_is_built_after_the_first_vm_of_its_kind(node: Node) -> None:
    assert node.make().path == "cold"
    node.run(LOOK_S)
    (folder,) = node.templates
    status = node.hypervisor.status().templates
    assert (status.count, status.building) == (1, "")
    assert status.bytes == sum(file.stat().st_blocks * 512 for file in folder.iterdir()) > 0
    node.run(node.config.heartbeat_s)
    (beat,) = node.directory.heartbeats()
    assert beat.status["templates"] == {"count": 1, "bytes": status.bytes, "building": ""}
    assert list(node.host.domains) == [uuid()]
    started = len(node.host.started)
    node.run(600)
    assert len(node.host.started) == started


def test_what_is_being_built_is_told_and_its_image_stays(node: Node) -> None:
    seen: list[TemplateStatus] = []
    node.failpoints.set("hypervisor.template", lambda: seen.append(node.hypervisor.status().templates))
    node.make()
    node.run(LOOK_S)
    assert [status.building for status in seen] == [f"image={MANIFEST.digest[:12]} flavour=1x512"]
    node.directory.set_tags((TAG,), NEW)
    node.hypervisor.destroy("r1")
    assert MANIFEST.digest in node.hypervisor.images_in_use()


def test_nothing_is_built_while_vms_come_up(node: Node) -> None:
    node.make()
    node.host.boots = False
    node.make("r2", resources=Resources(2, 512))
    node.run(100)
    assert (node.state("r2"), len(node.templates)) == ("STARTING", 1)
    built_first = node.templates
    node.make("r3", resources=Resources(3, 512))
    node.host.boot(uuid("r2"))
    node.run(30)
    assert (node.state("r2"), node.templates) == ("READY", built_first)
    node.host.boot(uuid("r3"))
    node.host.boots = True
    node.run(60)
    assert len(node.templates) == 3


def test_nothing_is_built_without_memory_that_is_really_free(node: Node) -> None:
    charge = node.config.overheads.charge(request().resources).memory_mib
    node.available_mib = charge + MARGIN_MIB - 1
    node.make()
    node.run(100)
    assert node.templates == []
    node.available_mib += 1
    node.run(LOOK_S + 1)
    assert len(node.templates) == 1


def test_nothing_is_built_without_room_on_the_disk_beside_what_vms_may_fill(node: Node) -> None:
    node.disk = DiskSpace(200_000, node.config.min_free_mib + 500 + 900)
    node.make(resources=Resources(1, 512, 900))
    node.run(100)
    assert node.templates == []


def test_what_can_not_be_built_is_tried_again_ever_later_and_told_once(
    node: Node, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wnodes.hypervisor.templates.RETRY_S", (60.0, 200.0))
    tries: list[float] = []

    def save(_uuid: str, _path: str) -> None:
        tries.append(node.clock.now())
        raise VirtError(object="save", reason="no room to save")

    node.host.save = save  # type: ignore[method-assign]
    node.make()
    node.run(900)
    pauses = [after - before for before, after in zip(tries, tries[1:])]
    late = LOOK_S + 10  # it is looked for now and then, and a build takes a while
    assert all(wanted <= pause < wanted + late for wanted, pause in zip((60, 120, 200, 200), pauses))
    assert len(pauses) >= 4
    assert sum("no room to save" in record.getMessage() for record in caplog.records) == 1
    assert node.templates == []
    del node.host.save
    node.run(250)
    assert len(node.templates) == 1


def test_configured_flavours_have_templates_before_their_first_vm(tmp_path: Path) -> None:
    flavours = (TemplateFlavour(TAG, 1, 512), TemplateFlavour(TAG, 2, 1024), TemplateFlavour("no_such_image", 1, 512))
    node = Node(tmp_path, template_cache_mib=8192, template_flavours=flavours)
    try:
        node.run(60)
        assert len(node.templates) == 2
        assert node.make(resources=Resources(2, 1024)).path == "restore"
        os.truncate(node.templates[0] / MEMORY, 3)
        os.truncate(node.templates[1] / MEMORY, 3)
        assert node.make("r2", resources=Resources(2, 1024)).path == "cold"
        node.run(60)
        assert node.make("r3", resources=Resources(2, 1024)).path == "restore"
        before = node.templates
        node.host.made_of = replace(node.host.made_of, qemu="8.0.0")
        node.run(60)
        assert len(node.templates) == 2
        assert not set(before) & set(node.templates)
    finally:
        node.hypervisor.stop()
        node.directory.close()


def test_flavours_that_do_not_all_fit_do_not_push_each_other_out_for_ever(tmp_path: Path) -> None:
    node = Node(tmp_path, template_cache_mib=3, template_flavours=tuple(TemplateFlavour(TAG, n, 512) for n in (1, 2)))
    try:
        _fat(node, 2)
        node.run(300)
        assert len(node.host.started) == 2
        assert len(node.templates) == 1
    finally:
        node.hypervisor.stop()
        node.directory.close()


def _fat(node: Node, mib: int) -> None:
    """Let templates take so many MiB each from now on."""
    save = node.host.save

    def fat(domain: str, path: str) -> None:
        save(domain, path)
        with open(path, "ab") as file:
            file.write(os.urandom(mib << 20))

    node.host.save = fat  # type: ignore[method-assign]


def test_the_one_used_least_recently_makes_room_also_after_a_restart(tmp_path: Path) -> None:
    node = Node(tmp_path, template_cache_mib=5)
    try:
        _fat(node, 2)
        first, second = built(node, "r1", 1), built(node, "r2", 2)
        assert node.make("r3", resources=Resources(1, 512)).path == "restore"
        node.run(60)
        node.restart()
        third = built(node, "r4", 3)
        assert set(node.templates) == {first, third}
        assert not second.exists()
    finally:
        node.hypervisor.stop()
        node.directory.close()


def test_one_that_takes_more_than_all_may_is_not_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    node = Node(tmp_path, template_cache_mib=1)
    try:
        _fat(node, 2)
        node.make()
        node.run(50)
        assert (node.templates, len(node.host.started)) == ([], 2)
        assert "raise template_cache_mib" in caplog.text
    finally:
        node.hypervisor.stop()
        node.directory.close()


def test_one_of_a_retired_image_goes_with_it(node: Node) -> None:
    built(node)
    node.make("r2")
    node.directory.set_tags((TAG,), NEW)
    node.run(30)
    assert len(node.templates) == 1  # a VM has its image
    node.hypervisor.destroy("r2")
    node.run(30)
    assert node.templates == []
    assert node.hypervisor.images_in_use() == {"e" * 64}


def test_nothing_goes_while_the_tags_are_not_known(node: Node) -> None:
    folder = built(node)
    node.nameserver.down = True
    node.restart()
    node.run(60)
    assert node.templates == [folder]
    assert MANIFEST.digest in node.hypervisor.images_in_use()


@pytest.mark.parametrize("changed", [{"qemu": "8.0.0"}, {"libvirt": "10.0.0"}, {"cpu": "another"}])
def test_one_of_another_host_goes(node: Node, changed: dict[str, str]) -> None:
    built(node)
    node.host.made_of = replace(node.host.made_of, **changed)
    node.run(2 * LOOK_S)
    assert node.templates == []
    assert node.make().path == "cold"


def test_one_of_other_overheads_or_layers_goes(node: Node, tmp_path: Path) -> None:
    built(node)
    node.images.folder = tmp_path / "sealed"
    node.run(2 * LOOK_S)
    assert node.templates == []


def test_one_without_description_goes(node: Node) -> None:
    (built(node) / DESCRIPTION).write_text(json.dumps({"no": "description"}))
    node.run(2 * LOOK_S)
    assert node.templates == []


def test_without_room_for_templates_there_are_none(node: Node) -> None:
    built(node)
    node.config = replace(node.config, template_cache_mib=0)
    node.restart()
    node.run()
    assert node.templates == []
    assert node.make().path == "cold"
    node.run(100)
    assert (node.templates, node.host.restored) == ([], [])
    assert node.host.started.count(uuid()) == 1
    assert node.host.started[-1] == uuid()


def test_a_build_is_no_orphan_however_long_it_takes(node: Node) -> None:
    node.config = replace(node.config, orphan_delay_s=20.0)
    node.host.busy = 1.0  # never settles
    swept: list[bool] = []

    def pause(seconds: float) -> None:
        node.clock.advance(10 * seconds)
        node.hypervisor._maintenance._sweep()
        swept.append(any(domain.name.startswith("template.") for domain in node.host.domains.values()))

    node._pause = pause  # type: ignore[method-assign]
    node.restart()
    node.make()
    assert all(swept)
    assert len(swept) > 5
    assert len(node.templates) == 1


def test_what_a_killed_build_left_is_cleared_at_the_start(node: Node) -> None:
    killed_build(node.host, node.make)
    assert len(node.host.domains) == 2
    node.restart()
    node.hypervisor._maintenance.steps[TEMPLATES]()
    assert list(node.host.domains) == [uuid()]
    assert node.templates == []


def test_a_stop_does_not_wait_for_a_build(node: Node) -> None:
    node.host.busy = 1.0
    looks = node.looks
    node.failpoints.set("hypervisor.template", node.hypervisor._maintenance.templates.stop)
    node.make()
    node.run(LOOK_S)
    assert (node.looks, node.templates, list(node.host.domains)) == (looks, [], [uuid()])


def test_a_retired_image_is_not_built_any_more(node: Node) -> None:
    node.available_mib = 0
    node.make()
    node.directory.set_tags((TAG,), NEW)
    node.run(30)
    node.available_mib = 8192
    node.run(30)
    assert node.templates == []
