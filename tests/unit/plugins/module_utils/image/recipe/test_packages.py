# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages removed, upgraded and installed with the guest's own package manager; nothing of that stays in the image."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.image.image_fixture import (
    AptStub,
    DnfStub,
    FakeTools,
    engine,
    enterprise_linux,
    image,
    raw,
)
from wnodes.image.recipe.fake import FakeHandle
from wnodes.image.recipe.operations import CommandOp, Recipe, ScriptOp
from wnodes.image.recipe.packages import Apt, Dnf, Upgrade, package_manager
from wnodes.image.recipe.plan import plan_packages
from wnodes.image.recipe.view import Folder, SpecialFile, Symlink
from wnodes.model.errors import ImageError

ALL = Recipe(packages=("new",), packages_absent=("kept", "never"), upgrade=True, network=True)


def debian() -> FakeHandle:
    handle = image()
    handle.put("/usr/sbin", Folder(0o755))
    handle.on_command = AptStub({"apt": "2", "kept": "1"}, {"apt": "3", "kept": "2", "new": "1"})
    return handle


def rhel() -> FakeHandle:
    handle = enterprise_linux()
    handle.on_command = DnfStub({"apt": "2", "kept": "1"}, {"apt": "3", "kept": "2", "new": "1"})
    return handle


def test_packages_are_those_the_package_manager_lacks_or_has() -> None:
    recipe = Recipe(packages=("apt", "gone", "new"), packages_absent=("kept", "never"), network=True)
    difference = plan_packages(Apt(image()), recipe)
    assert difference.packages == ("gone", "new")
    assert difference.removals == ("kept",)


def test_missing_packages_need_the_network() -> None:
    with pytest.raises(ImageError, match="no network"):
        plan_packages(Apt(image()), Recipe(packages=("new",)))


@pytest.mark.parametrize(("handle", "kind"), [(image(), Apt), (enterprise_linux(), Dnf)])
def test_the_package_manager_is_that_of_the_family(handle: FakeHandle, kind: type) -> None:
    assert isinstance(package_manager(handle), kind)


def test_an_image_without_a_package_manager_is_named() -> None:
    with pytest.raises(ImageError, match="no package manager"):
        package_manager(FakeHandle())


@pytest.mark.parametrize("make", [debian, rhel])
def test_check_mode_names_each_package_and_then_just_that_is_done_once(tmp_path: Path, make: object) -> None:
    assert callable(make)
    handle, disk = make(), raw(tmp_path)
    looked_at = make()
    foretold = engine(looked_at).customise(disk, "raw", ALL, check=True)
    assert looked_at.on_command.installed == {"apt": "2", "kept": "1"}
    assert foretold.upgrades == (Upgrade("apt", "2", "3"),)
    assert foretold.actions() == ["remove package kept", "upgrade apt 2 → 3", "install new"]

    assert engine(handle).customise(disk, "raw", ALL) == foretold
    assert handle.on_command.installed == {"apt": "3", "new": "1"}
    again = engine(handle)
    assert not again.customise(disk, "raw", ALL)
    assert isinstance(again.tools, FakeTools)
    assert "commit" not in again.tools.done


@pytest.mark.parametrize("make", [debian, rhel])
def test_what_is_fetched_lies_on_the_scratch_drive_and_the_image_s_own_files_come_back(
    tmp_path: Path, make: object
) -> None:
    assert callable(make)
    handle = make()
    handle.put("/tmp/own", Symlink("x"))
    engine(handle).customise(raw(tmp_path), "raw", ALL)
    assert [call for call in handle.calls if "sdb" in call or "umount" in call] == [
        "mkfs ext2 /dev/sdb",
        "mount /dev/sdb /tmp",
        "umount /tmp",
    ]
    assert sorted(path for path in handle.tree if path.startswith("/tmp")) == ["/tmp", "/tmp/own"]
    used = [" ".join(command) for command in handle.commands if "rpm" not in command]
    folders = ("cachedir",) if make is rhel else ("Dir::State::Lists", "Dir::Cache")
    assert used and all(f"{folder}=/tmp/wnodes/" in command for command in used for folder in folders)


def test_nothing_to_do_about_debian_s_packages_runs_none_of_its_programs(tmp_path: Path) -> None:
    handle = image()
    assert not engine(handle).customise(raw(tmp_path), "raw", Recipe(packages=("apt",), packages_absent=("never",)))
    assert handle.commands == []
    assert not [call for call in handle.calls if call.startswith(("remount", "mkfs"))]


def test_rpm_can_be_asked_with_and_without_the_network(tmp_path: Path) -> None:
    for network in (False, True):
        recipe = Recipe(packages=("apt",), packages_absent=("kept",), network=network)
        foretold = engine(rhel()).customise(raw(tmp_path), "raw", recipe, check=True)
        assert foretold.actions() == ["remove package kept"]


@pytest.mark.parametrize("node", [Symlink("/var/tmp"), SpecialFile(0o10644)])
def test_a_tmp_that_is_no_folder_is_not_covered(tmp_path: Path, node: Symlink) -> None:
    handle = debian()
    handle.tree["/tmp"] = node
    with pytest.raises(ImageError) as caught:
        engine(handle).customise(raw(tmp_path), "raw", ALL)
    assert caught.value.object == "/tmp"


def test_an_upgrade_that_brings_in_another_package_names_it() -> None:
    handle = debian()
    handle.on_command = lambda _handle, _command: (
        "Reading...\nInst libc6:i386 [2.36-9+deb12u1] (2.36-9+deb12u2 Debian:12 [i386]) []\n"
        "Inst libnew (1.0 Debian:12 [all])\nConf libnew (1.0 Debian:12 [all])\n"
    )
    assert [str(one) for one in Apt(handle).upgrades()] == ["libc6:i386 2.36-9+deb12u1 → 2.36-9+deb12u2", "libnew 1.0"]


@pytest.mark.parametrize("there", [False, True])
def test_no_service_starts_meanwhile_and_the_rule_is_gone_even_after_a_failure(there: bool) -> None:
    handle = debian()
    if there:
        handle.put("/usr/sbin/policy-rc.d", Symlink("own"))
    handle.remount("/", rw=True)

    def fail(handle: FakeHandle, command: object) -> str:
        assert "/usr/sbin/policy-rc.d" in handle.tree
        raise RuntimeError("no mirror")

    handle.on_command = fail
    with pytest.raises(RuntimeError, match="no mirror"):
        Apt(handle).install(("new",))
    assert ("/usr/sbin/policy-rc.d" in handle.tree) is there


def test_what_takes_long_is_announced_first(tmp_path: Path) -> None:
    said: list[str] = []
    recipe = Recipe(
        packages=("new",),
        packages_absent=("kept",),
        upgrade=True,
        network=True,
        scripts=(ScriptOp("site", "#!/bin/sh"),),
        commands=(CommandOp(shell="first\nsecond"),),
    )
    handle = debian()
    apt = handle.on_command
    handle.on_command = lambda handle, command: apt(handle, command) if "apt-get" in command else ""
    engine(handle).customise(raw(tmp_path), "raw", recipe, progress=said.append)
    assert said == [
        "launch the appliance",
        "fetch the package index",
        "remove 1 packages: kept",
        "upgrade 1 packages",
        "install 1 packages: new",
        "run script site",
        "run first",
        "commit the changes",
    ]


def test_a_step_that_fails_is_named_and_keeps_nothing(tmp_path: Path) -> None:
    handle = debian()

    def fail(_handle: FakeHandle, _command: object) -> str:
        raise RuntimeError("apt-get: no route to host")

    handle.on_command = fail
    working = engine(handle)
    with pytest.raises(ImageError) as caught:
        working.customise(raw(tmp_path), "raw", ALL)
    assert caught.value.value == "fetch the package index"
    assert caught.value.reason == "apt-get: no route to host"
    assert isinstance(working.tools, FakeTools)
    assert "commit" not in working.tools.done


def test_removing_needs_no_index(tmp_path: Path) -> None:
    handle = debian()
    engine(handle).customise(raw(tmp_path), "raw", Recipe(packages_absent=("kept",), network=True))
    assert ["purge" in command or "update" in command for command in handle.commands] == [True]
    assert "purge" in handle.commands[0]
