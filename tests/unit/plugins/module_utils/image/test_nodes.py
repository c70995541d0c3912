# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The view: what is in the image, with what is wanted over it."""

from __future__ import annotations

import stat

import pytest

from tests.unit.plugins.module_utils.image.image_fixture import image
from wnodes.image.nodes import Change, Directory, File, Link, Other, View
from wnodes.model.errors import ImageError


def test_each_kind_of_node_is_told_apart() -> None:
    handle = image()
    handle.put("/dev/null", Other(stat.S_IFCHR | 0o666))
    view = View(handle)
    assert view.current("/lib") == Link("usr/lib")
    assert view.current("/root") == Directory(0o755)
    assert view.current("/bin/sh") == File(b"", 0o755)
    assert view.current("/dev/null") == Other(stat.S_IFCHR | 0o666)
    for absent in ("/absent", "/absent/below", "/root/keep/below-a-file"):
        assert view.current(absent) is None


def test_what_is_wanted_lies_over_what_is_there() -> None:
    view = View(image())
    view.want("/root/keep", None)
    view.want("/new", Link("x"))
    assert view.look("/root/keep") is None
    assert view.look("/new") == Link("x")
    assert view.changes() == (
        Change("/new", None, Link("x")),
        Change("/root/keep", File(b"", 0o644), None),
    )


def test_wanting_what_is_there_is_no_change() -> None:
    view = View(image())
    view.want("/lib", Link("usr/lib"))
    view.want("/absent", None)
    assert view.changes() == ()


def test_links_are_followed_to_their_end() -> None:
    handle = image()
    handle.put("/etc/a", Link("b"))
    handle.put("/etc/b", Link("/root/keep"))
    assert View(handle).resolve("/etc/a") == "/root/keep"
    handle.put("/etc/b", Link("a"))
    with pytest.raises(ImageError, match="circle"):
        View(handle).resolve("/etc/a")


def test_names_are_those_that_will_be_there() -> None:
    handle = image()
    handle.put("/etc/x.wants/u", Link("1"))
    handle.put("/etc/y.wants/u", Link("1"))
    view = View(handle)
    view.want("/etc/y.wants/u", None)
    view.want("/etc/z.wants/u", Link("1"))
    view.want("/etc/z.other/u", Link("1"))
    assert view.names("/etc/*.wants/u") == ["/etc/x.wants/u", "/etc/z.wants/u"]


def test_users_and_numbers() -> None:
    view = View(image())
    assert view.ids("munge", "7") == (101, 7)
    assert view.user("munge") == (101, 102, "/nonexistent")
    view.want("/etc/passwd", File(b"new:x:5:6::/home/new:/bin/sh\n", 0o644))
    assert view.ids("new", "root") == (5, 0)
