# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One appliance: format given, network off, file systems found and read-only until asked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.image.image_fixture import engine, image, raw
from wnodes.image.recipe.appliance import libguestfs, open_image
from wnodes.image.recipe.operations import FileOp, Recipe
from wnodes.model.errors import ConfigError, ImageError

RECIPE = Recipe(files=(FileOp("/etc/motd", "hello\n"),))


def test_missing_bindings_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "guestfs", None)
    with pytest.raises(ConfigError, match="python3-guestfs"):
        libguestfs()


@pytest.mark.parametrize(("accel", "settings"), [("kvm", "settings "), ("tcg", "settings force_tcg")])
def test_kvm_is_used_only_where_it_is_said_to_work(accel: str, settings: str) -> None:
    handle = image()
    with open_image("/disk", "raw", readonly=True, accel=accel, factory=lambda: handle):
        assert settings in handle.calls


def test_nothing_can_be_written_until_asked() -> None:
    handle = image()
    with open_image("/disk", "raw", readonly=False, factory=lambda: handle) as opened:
        with pytest.raises(RuntimeError, match="Read-only"):
            handle.write("/etc/motd", b"")
        opened.writable()
        opened.writable()
        handle.write("/etc/motd", b"")
    assert handle.calls.count("remount /") == 1


def test_a_partitioned_disk_is_inspected(tmp_path: Path) -> None:
    handle = image()
    handle.partitions = ["/dev/sda1", "/dev/sda2"]
    handle.roots = ["/dev/sda2"]
    handle.found = {"/boot": "/dev/sda1", "/": "/dev/sda2"}
    engine(handle).customise(raw(tmp_path), "raw", RECIPE)
    assert [call for call in handle.calls if "mount" in call] == [
        "mount /dev/sda2 /",
        "mount /dev/sda1 /boot",
        "remount /",
        "remount /boot",
    ]


@pytest.mark.parametrize("roots", [[], ["/dev/sda1", "/dev/sda2"]])
def test_no_or_two_systems_inside_are_refused(tmp_path: Path, roots: list[str]) -> None:
    handle = image()
    handle.partitions, handle.roots = ["/dev/sda1"], roots
    with pytest.raises(ImageError, match="operating system"):
        engine(handle).customise(raw(tmp_path), "raw", RECIPE)


def test_what_the_appliance_says_reaches_the_reader(tmp_path: Path) -> None:
    handle = image()

    def launch() -> None:
        raise RuntimeError("qemu died")

    handle.launch = launch  # type: ignore[method-assign]
    with pytest.raises(ImageError, match="qemu died"):
        engine(handle).customise(raw(tmp_path), "raw", RECIPE)
