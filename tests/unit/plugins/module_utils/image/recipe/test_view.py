# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The view: what is in the image, with what is wanted over it."""

from __future__ import annotations

import stat

import pytest

from tests.unit.plugins.module_utils.image.image_fixture import image
from wnodes.image.recipe.view import LIMIT, Change, File, Folder, ImageView, LargeFile, Node, SpecialFile, Symlink
from wnodes.model.errors import ImageError


def test_each_kind_of_node_is_told_apart() -> None:
    handle = image()
    handle.put("/dev/null", SpecialFile(stat.S_IFCHR | 0o666))
    view = ImageView(handle)
    assert view.current("/lib") == Symlink("usr/lib")
    assert view.current("/root") == Folder(0o755)
    assert view.current("/bin/sh") == File(b"", 0o755)
    assert view.current("/dev/null") == SpecialFile(stat.S_IFCHR | 0o666)
    for absent in ("/absent", "/absent/below", "/root/keep/below-a-file"):
        assert view.current(absent) is None


def test_what_is_wanted_lies_over_what_is_there() -> None:
    view = ImageView(image())
    view.want("/root/keep", None)
    view.want("/new", Symlink("x"))
    assert view.look("/root/keep") is None
    assert view.look("/new") == Symlink("x")
    assert view.changes() == (
        Change("/new", None, Symlink("x")),
        Change("/root/keep", File(b"", 0o644), None),
    )


def test_wanting_what_is_there_is_no_change() -> None:
    view = ImageView(image())
    view.want("/lib", Symlink("usr/lib"))
    view.want("/absent", None)
    assert view.changes() == ()


def test_links_are_followed_to_their_end() -> None:
    handle = image()
    handle.put("/etc/a", Symlink("b"))
    handle.put("/etc/b", Symlink("/root/keep"))
    assert ImageView(handle).resolve("/etc/a") == "/root/keep"
    handle.put("/etc/b", Symlink("a"))
    with pytest.raises(ImageError, match="circle"):
        ImageView(handle).resolve("/etc/a")


def test_names_are_those_that_will_be_there() -> None:
    handle = image()
    handle.put("/etc/x.wants/u", Symlink("1"))
    handle.put("/etc/y.wants/u", Symlink("1"))
    view = ImageView(handle)
    view.want("/etc/y.wants/u", None)
    view.want("/etc/z.wants/u", Symlink("1"))
    view.want("/etc/z.other/u", Symlink("1"))
    assert view.names("/etc/*.wants/u") == ["/etc/x.wants/u", "/etc/z.wants/u"]


def test_users_and_numbers() -> None:
    view = ImageView(image())
    assert view.ids("munge", "7") == (101, 7)
    assert view.user("munge") == (101, 102, "/nonexistent")
    view.want("/etc/passwd", File(b"new:x:5:6::/home/new:/bin/sh\n", 0o644))
    assert view.ids("new", "root") == (5, 0)


def test_a_file_is_read_in_parts_and_one_too_large_not_at_all() -> None:
    handle = image()
    content = bytes(range(256)) * (20 << 10)
    handle.put("/part", File(content, 0o644))
    asked: list[int] = []
    read = handle.pread

    def pread(path: str, count: int, offset: int) -> bytes:
        asked.append(count)
        return read(path, count, offset)

    handle.pread = pread  # type: ignore[method-assign]
    assert ImageView(handle).current("/part") == File(content, 0o644)
    assert len(asked) == 3
    assert max(asked) < 4 << 20  # an answer of the appliance is not longer

    handle.put("/large", File(b"x" * (LIMIT + 1), 0o600, 1, 2))
    view = ImageView(handle)
    assert view.current("/large") == LargeFile(LIMIT + 1, 0o600, 1, 2)
    assert len(asked) == 3
    with pytest.raises(ImageError) as caught:
        view.text("/large")
    assert (caught.value.object, caught.value.value) == ("/large", "too large")


@pytest.mark.parametrize(
    ("wanted", "same", "summed"),
    [
        (File(b"x" * (LIMIT + 1), 0o644), True, True),
        (File(b"y" * (LIMIT + 1), 0o644), False, True),
        (File(b"x" * (LIMIT + 1), 0o600), False, False),
        (File(b"x", 0o644), False, False),
        (None, False, False),
    ],
)
def test_large_files_are_compared_by_their_sum_and_only_if_the_size_is_right(
    wanted: File | None, same: bool, summed: bool
) -> None:
    handle = image()
    handle.put("/large", File(b"x" * (LIMIT + 1), 0o644))
    sums: list[str] = []
    checksum = handle.checksum
    handle.checksum = lambda kind, path: sums.append(path) or checksum(kind, path)  # type: ignore[method-assign, func-returns-value]
    view = ImageView(handle)
    view.want("/large", wanted)
    assert (view.changes() == ()) is same
    assert (sums == ["/large"]) is summed


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (None, "not in the image"),
        (Folder(0o755), "a folder"),
        (SpecialFile(0o10644), "a special file"),
        (Symlink("x"), "link"),
    ],
)
def test_only_plain_files_have_text(node: Node | None, said: str) -> None:
    handle = image()
    if node is not None:
        handle.put("/etc/thing", node)
    with pytest.raises(ImageError) as caught:
        ImageView(handle).text("/etc/thing")
    assert caught.value.object == "/etc/thing"
    assert said in str(caught.value)


@pytest.mark.parametrize("line", ["bad:x:x:1::/:", "bad:x:1::" + ":/:", "bad:x:1:1::home:", "bad:x:1:1::/a/../..:"])
def test_a_user_without_numbers_or_a_home_is_refused(line: str) -> None:
    handle = image()
    handle.put("/etc/passwd", File(line.encode(), 0o644))
    with pytest.raises(ImageError) as caught:
        ImageView(handle).user("bad")
    assert caught.value.value == "bad"
