# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The links that systemctl would make or remove."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.image.image_fixture import image
from wnodes.image.recipe.engine import apply
from wnodes.image.recipe.fake import FakeHandle
from wnodes.image.recipe.operations import Units
from wnodes.image.recipe.plan import ImageDifference
from wnodes.image.recipe.units import plan_units
from wnodes.image.recipe.view import Change, File, ImageView, Symlink
from wnodes.model.errors import ImageError

ETC = "/etc/systemd/system"


def plan(handle: FakeHandle, units: Units) -> tuple[Change, ...]:
    view = ImageView(handle)
    plan_units(view, units)
    changes: tuple[Change, ...] = view.changes()
    return changes


def do(handle: FakeHandle, units: Units) -> ImageDifference:
    difference = ImageDifference(changes=plan(handle, units))
    handle.remount("/", rw=True)
    apply(handle, difference)
    handle.remount("/", rw=False)
    return difference


def test_a_unit_disabled_loses_every_link_that_starts_it() -> None:
    handle = image()
    do(handle, Units(enable=("munge.service",)))
    difference = do(handle, Units(disable=("munge.service", "never-there.service")))
    assert difference.actions() == [f"remove {ETC}/key.service", f"remove {ETC}/multi-user.target.wants/munge.service"]


def test_a_link_that_enables_counts_whichever_way_it_spells_the_folder() -> None:
    handle = image()
    for path in (f"{ETC}/multi-user.target.wants/munge.service", f"{ETC}/key.service"):
        handle.put(path, Symlink("/lib/systemd/system/munge.service"))
    assert not plan(handle, Units(enable=("munge.service",)))


def test_a_masked_unit_can_not_be_enabled() -> None:
    handle = image()
    do(handle, Units(mask=("munge.service",)))
    with pytest.raises(ImageError, match="is masked"):
        plan(handle, Units(enable=("munge.service",)))


@pytest.mark.parametrize("asked", ["ssh.service", "sshd.service"])
@pytest.mark.parametrize("there", ["ssh.service", "sshd.service"])
def test_a_service_is_found_under_the_name_its_family_gives_it(asked: str, there: str) -> None:
    handle = image()
    handle.put(f"/usr/lib/systemd/system/{there}", File(b"[Install]\nWantedBy=multi-user.target\n", 0o644))
    link = f"{ETC}/multi-user.target.wants/{there}"
    assert do(handle, Units(enable=(asked,))).actions()[-1] == f"write {link}"
    assert do(handle, Units(disable=(asked,))).actions() == [f"remove {link}"]
    assert do(handle, Units(mask=(asked,))).actions() == [f"write {ETC}/{there}"]


def test_a_service_that_is_nowhere_keeps_the_name_it_was_given() -> None:
    with pytest.raises(ImageError, match=r"unit sshd\.service"):
        plan(image(), Units(enable=("sshd.service",)))
