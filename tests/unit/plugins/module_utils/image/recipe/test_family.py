# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The family of a tree, from what is in it."""

from __future__ import annotations

import pytest

from wnodes.image.recipe.fake import FakeHandle
from wnodes.image.recipe.family import DEBIAN, RHEL, family
from wnodes.image.recipe.view import ImageView, SpecialFile, Symlink
from wnodes.model.errors import ImageError


@pytest.mark.parametrize(
    ("tree", "found"),
    [
        ({"/etc/os-release": 'NAME="Debian"\nID=debian\n'}, DEBIAN),
        ({"/etc/os-release": "ID=ubuntu\nID_LIKE=debian\n"}, DEBIAN),
        ({"/etc/os-release": "ID=linuxmint\nID_LIKE='ubuntu debian'\n"}, DEBIAN),
        ({"/etc/os-release": 'ID="almalinux"\nID_LIKE="rhel centos fedora"\n'}, RHEL),
        ({"/etc/os-release": Symlink("../usr/lib/os-release"), "/usr/lib/os-release": "ID=fedora\n"}, RHEL),
        ({"/usr/lib/os-release": "ID=fedora\n"}, RHEL),
        ({"/etc/os-release": "ID=arch\n", "/etc/debian_version": ""}, None),
        ({"/etc/os-release": ""}, None),
        ({"/etc/debian_version": ""}, DEBIAN),
        ({"/etc/redhat-release": ""}, RHEL),
        ({}, None),
    ],
)
def test_a_tree_says_what_it_is(tree: dict[str, str], found: str) -> None:
    assert family(ImageView(FakeHandle(tree))) == found  # type: ignore[arg-type]


@pytest.mark.parametrize("node", [Symlink("os-release"), SpecialFile(0o10644)])
def test_what_is_no_file_is_refused(node: Symlink) -> None:
    with pytest.raises(ImageError, match=r"circle|special file"):
        family(ImageView(FakeHandle({"/etc/os-release": node})))
