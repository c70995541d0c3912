# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One launch, the gate first, nothing written unless something has to be, nothing kept if something fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.image.image_fixture import FakeTools, engine, image, raw
from wnodes.image.recipe.appliance import Handle
from wnodes.image.recipe.engine import Engine
from wnodes.image.recipe.fake import FakeHandle
from wnodes.image.recipe.operations import CommandOp, FileOp, Recipe
from wnodes.image.recipe.view import File
from wnodes.model.errors import ImageError

RECIPE = Recipe(files=(FileOp("/etc/motd", "hello\n"),), commands=(CommandOp(shell="true", creates="/etc/motd2"),))
EVERYTHING = Recipe(
    packages=("new",), network=True, files=(FileOp("/etc/motd", "m"),), commands=(CommandOp(shell="sync"),)
)


def done(engine: Engine) -> list[str]:
    assert isinstance(engine.tools, FakeTools)
    return engine.tools.done


def test_check_mode_opens_read_only_and_foretells_what_is_done(tmp_path: Path) -> None:
    handle, disk = image(), raw(tmp_path)
    before = dict(handle.tree)
    foretold = engine(handle).customise(disk, "raw", RECIPE, check=True)
    assert handle.tree == before
    assert f"drive {disk} raw ro" in handle.calls
    assert not [call for call in handle.calls if call.startswith("remount")]

    working = engine(handle)
    assert working.customise(disk, "raw", RECIPE) == foretold
    assert done(working) == ["overlay raw", "commit"]
    assert handle.tree["/etc/motd"] == File(b"hello\n", 0o644)


def test_whatever_is_asked_the_appliance_is_launched_once_without_network(tmp_path: Path) -> None:
    handle = image()
    engine(handle).customise(raw(tmp_path), "raw", RECIPE)
    assert handle.launches == 1
    assert not handle.network
    assert "settings force_tcg" in handle.calls
    assert handle.calls[-2:] == ["shutdown", "close"]


def test_nothing_to_do_leaves_file_systems_read_only_and_commits_nothing(tmp_path: Path) -> None:
    handle, disk = image(), raw(tmp_path)
    recipe = Recipe(files=(FileOp("/etc/machine-id", ""),))
    working = engine(handle)
    assert not working.customise(disk, "raw", recipe)
    assert done(working) == ["overlay raw"]
    assert not [call for call in handle.calls if call.startswith("remount")]


def test_packages_come_first_and_no_service_starts_meanwhile(tmp_path: Path) -> None:
    handle = image()
    seen: list[bool] = []

    def install(handle: FakeHandle, command: object) -> str:
        if isinstance(command, list) and "install" in command:
            seen.append("/usr/sbin/policy-rc.d" in handle.tree)
            assert "/etc/motd" not in handle.tree
        return ""

    handle.tree["/usr/sbin"] = handle.tree["/usr/bin"]
    handle.on_command = install
    difference = engine(handle).customise(raw(tmp_path), "raw", EVERYTHING)
    assert difference.actions() == ["install new", "write /etc/motd", "run sync"]
    assert seen == [True]
    assert "/usr/sbin/policy-rc.d" not in handle.tree
    assert handle.network


def test_while_packages_are_missing_check_mode_leaves_out_what_needs_them(tmp_path: Path) -> None:
    recipe = Recipe(
        packages=("new",), network=True, files=(FileOp("/etc/new", "x", owner="new"), FileOp("/etc/motd", "x"))
    )
    difference = engine(image()).customise(raw(tmp_path), "raw", recipe, check=True)
    assert difference.actions() == ["install new", "write /etc/motd"]


def test_a_failed_command_says_which_and_what_it_said_and_keeps_nothing(tmp_path: Path) -> None:
    handle = image()

    def fail(_handle: FakeHandle, _command: object) -> str:
        raise RuntimeError("sh: no such thing")

    handle.on_command = fail
    working = engine(handle)
    with pytest.raises(ImageError) as caught:
        working.customise(raw(tmp_path), "raw", RECIPE)
    assert caught.value.value == "true"
    assert caught.value.reason == "sh: no such thing"
    assert done(working) == ["overlay raw"]
    assert handle.calls[-1] == "close"


def test_the_gate_comes_before_the_appliance(tmp_path: Path) -> None:
    handle = image()
    with pytest.raises(ImageError, match="labelled qcow2"):
        engine(handle).customise(raw(tmp_path), "qcow2", RECIPE)
    assert handle.launches == 0


def test_large_content_is_uploaded(tmp_path: Path) -> None:
    handle = image()
    engine(handle).customise(raw(tmp_path), "raw", Recipe(files=(FileOp("/big", "x" * (2 << 20)),)))
    assert "upload /big" in handle.calls


def test_the_last_look_sees_the_image_as_it_will_be(tmp_path: Path) -> None:
    handle = image()
    looked: list[bool] = []

    def look(opened: Handle) -> None:
        looked.append(opened.exists("/etc/motd"))

    engine(handle).customise(raw(tmp_path), "raw", RECIPE, afterwards=look)
    assert looked == [True]
