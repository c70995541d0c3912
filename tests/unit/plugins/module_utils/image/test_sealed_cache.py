# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's layer is put on once for each image and recipe, by whoever needs it first, and goes with its image."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.releases import MANIFEST
from wnodes.image.recipe.operations import Recipe, RemoteSyslog
from wnodes.image.sealed_cache import SealedImageCache
from wnodes.model.errors import ImageError
from wnodes.model.image import CachedImage, Image

IMAGE = MANIFEST.image("/images")
OTHER = replace(IMAGE, digest="e" * 64)
SYSLOG = Recipe(remote_syslog=RemoteSyslog("10.0.0.1"))


class Cache:
    def scrub(self) -> tuple[str, ...]:
        return (IMAGE.digest,)

    def progress(self) -> dict[str, tuple[int, int, float]]:
        return {IMAGE.digest: (1, 2, 3.0)}

    def ensure(self, image: Image) -> CachedImage:
        return CachedImage(image, f"/cache/{image.digest}/disk.raw", "/cache/vmlinuz", "/cache/initrd")


class Maker:
    """Writes the name of what it is asked to do; ``gate`` holds it up."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str]] = []
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def make(self, disk: str, format: str, recipe: Recipe, layer: str, accel: str) -> list[str]:
        assert self.gate.wait(10)
        self.made.append((disk, accel))
        Path(layer).write_text(disk)
        if self.error is not None:
            raise self.error
        return []


class Node:
    def __init__(self, root: Path) -> None:
        self.root, self.maker = root, Maker()
        self.used: set[str] = set()

    def sealed(self, recipe: Recipe = SYSLOG) -> SealedImageCache:
        return SealedImageCache(Cache(), str(self.root), recipe, self.maker, lambda cached: "qemu", lambda: self.used)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "sealed")


def test_a_new_program_of_ours_makes_a_new_layer(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    before = node.sealed().ensure(IMAGE)
    monkeypatch.setattr("wnodes.image.sealed_cache.SCRIPT", "another one")
    assert node.sealed().ensure(IMAGE).disk != before.disk
    assert len(node.maker.made) == 2


def test_without_anything_to_add_the_image_is_used_as_it_is(node: Node) -> None:
    assert node.sealed(Recipe()).ensure(IMAGE) == Cache().ensure(IMAGE)
    assert node.maker.made == []
    assert node.sealed().progress() == Cache().progress()
    assert node.sealed().scrub() == (IMAGE.digest,)


def test_the_layer_is_made_once_and_outlives_a_restart(node: Node) -> None:
    sealed = node.sealed()
    first = sealed.ensure(IMAGE)
    assert (first.format, first.kernel) == ("qcow2", "/cache/vmlinuz")
    assert Path(first.disk).read_text() == f"/cache/{IMAGE.digest}/disk.raw"
    assert os.stat(first.disk).st_mode & 0o777 == 0o444
    assert sealed.ensure(IMAGE) == node.sealed().ensure(IMAGE) == first
    assert node.maker.made == [(f"/cache/{IMAGE.digest}/disk.raw", "qemu")]


def test_all_who_wait_get_the_one_layer(node: Node) -> None:
    node.maker.gate.clear()
    sealed = node.sealed()
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(sealed.ensure, IMAGE) for _ in range(8)]
        node.maker.gate.set()
        assert len({found.result(10).disk for found in waiting}) == 1
    assert len(node.maker.made) == 1


def test_what_fails_leaves_nothing_and_is_tried_again(node: Node) -> None:
    sealed = node.sealed()
    node.maker.error = ImageError(object="/etc/rsyslog.d", reason="is a device")
    with pytest.raises(ImageError):
        sealed.ensure(IMAGE)
    assert os.listdir(node.root / IMAGE.digest) == []
    node.maker.error = None
    assert Path(sealed.ensure(IMAGE).disk).is_file()


def test_layers_go_when_no_vm_runs_from_them_and_none_will(node: Node) -> None:
    first = node.sealed().ensure(IMAGE).disk
    node.used = {IMAGE.digest}
    other = node.sealed(replace(SYSLOG, delete=("/x",))).ensure(OTHER).disk
    assert Path(first).is_file()
    node.used = set()
    changed = node.sealed(replace(SYSLOG, delete=("/y",))).ensure(IMAGE).disk
    assert not Path(first).exists()
    assert not Path(other).exists()
    assert Path(changed).is_file()
