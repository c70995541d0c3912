# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guest's package manager has, and how it is made to install more."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.image.image_fixture import image
from wnodes.image import packages
from wnodes.image.fake import FakeHandle
from wnodes.image.operations import Recipe
from wnodes.image.plan import plan_packages
from wnodes.model.errors import ImageError


def test_packages_are_those_the_package_manager_lacks() -> None:
    recipe = Recipe(packages=("apt", "kept", "gone", "new"), network=True)
    assert plan_packages(image(), recipe).packages == ("gone", "new")


def test_missing_packages_need_the_network() -> None:
    with pytest.raises(ImageError, match="no network"):
        plan_packages(image(), Recipe(packages=("new",)))


def test_an_image_without_a_package_manager_is_named() -> None:
    with pytest.raises(ImageError, match="no package manager"):
        plan_packages(FakeHandle(), Recipe(packages=("new",), network=True))


def test_rpm_is_asked_where_dnf_is() -> None:
    handle = FakeHandle({"/usr/bin/dnf": ""})
    handle.on_command = lambda _handle, _command: "bash\nmunge\n"
    assert plan_packages(handle, Recipe(packages=("munge", "new"), network=True)).packages == ("new",)


def test_the_rule_against_starting_services_is_gone_even_after_a_failure() -> None:
    handle = image()
    handle.put("/usr/sbin/sh", handle.tree["/bin/sh"])
    handle.remount("/", rw=True)

    def fail(handle: FakeHandle, command: object) -> str:
        assert "/usr/sbin/policy-rc.d" in handle.tree
        raise RuntimeError("no mirror")

    handle.on_command = fail
    with pytest.raises(RuntimeError, match="no mirror"):
        packages.install(handle, ("new",))
    assert "/usr/sbin/policy-rc.d" not in handle.tree


def test_dnf_installs_where_it_is() -> None:
    handle = FakeHandle({"/usr/bin/dnf": ""})
    packages.install(handle, ("munge",))
    assert handle.commands == [["dnf", "--assumeyes", "--setopt=install_weak_deps=False", "install", "munge"]]
