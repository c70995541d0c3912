# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole way of an image: base, customisation, last look, publication."""

from __future__ import annotations

import fcntl
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.image.image_fixture import engine, image, qcow2
from wnodes.image.build import Build
from wnodes.image.publish import Target
from wnodes.image.recipe.engine import Engine
from wnodes.image.recipe.fake import FakeHandle
from wnodes.image.recipe.operations import FileOp, Recipe
from wnodes.image.recipe.view import File
from wnodes.model.errors import ImageError

TAG = "worker_debian12_x86_64"
RECIPE = Recipe(files=(FileOp("/etc/motd", "hello\n"),))


def build(folder: Path, handle: FakeHandle, *, publish: bool = True, base: bool = True) -> Build:
    (folder / "base").write_bytes(qcow2())
    target = Target(str(folder / "images"), (TAG,), "quiet") if publish else None
    return Build(engine(handle), str(folder / "image"), "qcow2", str(folder / "base") if base else None, RECIPE, target)


def test_base_customised_and_published_then_nothing_left(tmp_path: Path) -> None:
    handle = image()
    outcome = build(tmp_path, handle).run()
    assert outcome.changed
    assert outcome.published
    assert outcome.actions == ["copy the base", "write /etc/motd", f"publish {outcome.published.path}"]
    assert (Path(outcome.published.path) / "vmlinuz").read_text() == "kernel"
    assert handle.launches == 1

    for check in (True, False):
        again = build(tmp_path, handle).run(check=check)
        assert not again.changed
        assert again.actions == []
        assert again.published is not None
    assert sorted(os.listdir(tmp_path)) == ["base", "image", "images"]


def test_check_mode_foretells_and_writes_nothing(tmp_path: Path) -> None:
    handle = image()
    outcome = build(tmp_path, handle).run(check=True)
    assert outcome.actions == ["copy the base", "write /etc/motd"]
    assert outcome.published is None
    assert os.listdir(tmp_path) == ["base"]


def test_an_image_with_a_secret_is_neither_published_nor_kept(tmp_path: Path) -> None:
    handle = image()
    handle.put("/etc/munge/munge.key", File(b"x", 0o400))
    with pytest.raises(ImageError, match="must not be published"):
        build(tmp_path, handle).run()
    assert os.listdir(tmp_path) == ["base"]


def test_a_secret_does_not_matter_where_nothing_is_published(tmp_path: Path) -> None:
    handle = image()
    handle.put("/etc/munge/munge.key", File(b"x", 0o400))
    assert build(tmp_path, handle, publish=False).run().changed


def test_two_do_not_work_on_one_image(tmp_path: Path) -> None:
    (tmp_path / "disk.qcow2.lock").touch()
    with open(tmp_path / "disk.qcow2.lock", "w", encoding="ascii") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ImageError, match="being worked on by another process"):
            Build(Engine(), str(tmp_path / "disk.qcow2"), "qcow2", None, Recipe()).run()


def test_neither_image_nor_base_is_said(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="name a base"):
        build(tmp_path, image(), base=False).run()


def test_a_base_passes_the_gate_before_it_is_copied(tmp_path: Path) -> None:
    made = build(tmp_path, image())
    (tmp_path / "base").write_bytes(qcow2(backing=512))
    with pytest.raises(ImageError, match="backing file"):
        made.run()
    assert os.listdir(tmp_path) == ["base"]


def partitioned(device: str = "/dev/sda2") -> FakeHandle:
    handle = image()
    handle.partitions, handle.roots = ["/dev/sda1", "/dev/sda2"], [device]
    handle.found = {"/": device}
    return handle


@pytest.mark.parametrize(
    ("device", "named"), [("/dev/sda2", "/dev/vda2"), ("/dev/vg/root", "/dev/vg/root"), ("/dev/sda", "/dev/vda")]
)
def test_the_root_file_system_is_found_where_it_is(tmp_path: Path, device: str, named: str) -> None:
    made = build(tmp_path, partitioned(device))
    assert made.target is not None
    published = replace(made, target=replace(made.target, root_device="")).run().published
    assert published is not None
    assert (published.manifest.root_device, published.manifest.cmdline) == (named, f"quiet root={named}")


@pytest.mark.parametrize("said", [{"root_device": "/dev/vda"}, {"root_device": "", "cmdline": "root=/dev/vda1 rw"}])
def test_another_partition_than_that_of_the_root_is_refused_before_anything_is_published(
    tmp_path: Path, said: dict[str, str]
) -> None:
    made = build(tmp_path, partitioned())
    assert made.target is not None
    with pytest.raises(ImageError, match="the root file system is on /dev/vda2; leave it out"):
        replace(made, target=replace(made.target, **said)).run()
    assert os.listdir(tmp_path) == ["base"]


def test_a_root_that_no_device_names_must_be_said_and_other_names_are_believed(tmp_path: Path) -> None:
    made = build(tmp_path, partitioned("btrfsvol:/dev/sda2/root"))
    assert made.target is not None
    with pytest.raises(ImageError, match="say root_device and cmdline"):
        replace(made, target=replace(made.target, root_device="")).run()
    cmdline = "root=UUID=1-2 rootflags=subvol=root"
    published = replace(made, target=replace(made.target, root_device="/dev/vda2", cmdline=cmdline)).run().published
    assert published is not None
    assert (published.manifest.root_device, published.manifest.cmdline) == ("/dev/vda2", cmdline)


def published_only(folder: Path, handle: FakeHandle) -> Build:
    return replace(build(folder, handle), recipe=Recipe())


def test_what_is_only_published_is_looked_through_before_it_is_copied(tmp_path: Path) -> None:
    handle = image()
    said: list[str] = []
    outcome = replace(published_only(tmp_path, handle), say=said.append).run()
    assert outcome.published
    assert handle.launches == 1
    assert said.index("look for what must not be published") < said.index("copy the base")


def test_a_base_that_changes_between_look_and_copy_is_not_published(tmp_path: Path) -> None:
    def say(line: str) -> None:
        if line == "copy the base":
            os.utime(tmp_path / "base", (1, 1))

    with pytest.raises(ImageError, match="was changed while it was read"):
        replace(published_only(tmp_path, image()), say=say).run()
    assert os.listdir(tmp_path) == ["base"]
