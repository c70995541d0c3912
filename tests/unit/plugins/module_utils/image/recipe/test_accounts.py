# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users and groups get the lines and numbers that shadow's own tools would write; passwords never."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.plugins.module_utils.image.image_fixture import enterprise_linux, image
from wnodes.image.recipe.accounts import plan_accounts
from wnodes.image.recipe.fake import FakeHandle
from wnodes.image.recipe.operations import FileOp, GroupOp, Recipe, UserOp
from wnodes.image.recipe.plan import plan_rest
from wnodes.image.recipe.view import File, Folder, ImageView, LargeFile, Node, SpecialFile, Symlink
from wnodes.model.errors import ImageError

PASSWD, GROUP, SHADOW, GSHADOW = "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"


def added(
    handle: FakeHandle, *, groups: tuple[GroupOp, ...] = (), users: tuple[UserOp, ...] = ()
) -> dict[str, list[str]]:
    """Plan, and return for each account file that changes the lines that are new."""
    view = ImageView(handle)
    plan_accounts(view, groups, users)
    lines = {}
    for change in view.changes():
        if isinstance(change.after, File):
            before = change.before.content.decode().split("\n") if isinstance(change.before, File) else []
            assert change.before is None or (change.before.mode, change.before.uid) == (0o644, 0)  # type: ignore[union-attr]
            lines[change.path] = [line for line in change.after.content.decode().split("\n") if line not in before]
    return lines


def test_a_new_user_gets_a_group_a_home_and_a_locked_account() -> None:
    handle = image()
    view = ImageView(handle)
    plan_accounts(view, (), (UserOp("alice", comment="Alice"),))
    assert added(handle, users=(UserOp("alice", comment="Alice"),)) == {
        PASSWD: ["alice:x:1000:1000:Alice:/home/alice:/bin/sh"],
        GROUP: ["alice:x:1000:"],
        SHADOW: ["alice:!::0:99999:7:::"],
        GSHADOW: ["alice:!::"],
    }
    assert view.look("/home/alice") == Folder(0o700, 1000, 1000)
    assert view.look("/home") == Folder(0o755)


def test_a_new_system_user_gets_neither_home_nor_shell() -> None:
    handle = enterprise_linux()
    handle.put("/usr/sbin/nologin", File(b"", 0o755))
    lines = added(handle, users=(UserOp("condor", system=True),))
    assert lines[PASSWD] == ["condor:x:999:999::/nonexistent:/usr/sbin/nologin"]
    assert added(handle, users=(UserOp("condor", system=True, home="/var/lib/condor"),))[PASSWD] == [
        "condor:x:999:999::/var/lib/condor:/usr/sbin/nologin"
    ]
    view = ImageView(handle)
    plan_accounts(view, (), (UserOp("condor", system=True), UserOp("slurm", system=True, home="/var/lib/slurm")))
    folders = [change.path for change in view.changes() if isinstance(change.after, Folder)]
    assert folders == ["/var", "/var/lib", "/var/lib/slurm"]


# numbers that are taken, login.defs, system, the number chosen: as useradd of shadow 4.13 does
@pytest.mark.parametrize(
    ("taken", "limits", "system", "chosen"),
    [
        ((), "", False, 1000),
        ((1000, 1002), "", False, 1003),
        ((60000,), "", False, 1000),
        ((1000, 60000), "", False, 1001),
        ((65534,), "", False, 1000),
        ((), "UID_MIN 500\n#UID_MIN 7\nUID_MAX\t600\n", False, 500),
        ((), "", True, 999),
        ((998,), "", True, 997),
        ((998, 101), "", True, 999),
        ((999, 998, 101), "", True, 997),
        ((), " SYS_UID_MIN 201\nSYS_UID_MAX 400 \n", True, 400),
        ((), "UID_MIN 500\n", True, 499),
    ],
)
def test_the_number_is_the_one_useradd_would_choose(
    taken: tuple[int, ...], limits: str, system: bool, chosen: int
) -> None:
    handle = image()
    lines = "".join(f"u{number}:x:{number}:0::/:/bin/sh\n" for number in (0, *taken))
    handle.put(PASSWD, File(lines.encode(), 0o644))
    handle.put("/etc/login.defs", File(limits.encode(), 0o644))
    (line,) = added(handle, users=(UserOp("new", group="root", system=system),))[PASSWD]
    assert line.split(":")[2] == str(chosen)


def test_a_full_range_is_said_however_large_it_claims_to_be() -> None:
    handle = image()
    handle.put("/etc/login.defs", File(b"UID_MIN 101\nUID_MAX 101\n", 0o644))
    with pytest.raises(ImageError, match="used up"):
        added(handle, users=(UserOp("new"),))
    handle.put("/etc/login.defs", File(b"UID_MIN 1\nUID_MAX 9999999999\n", 0o644))
    assert added(handle, users=(UserOp("new"),))[PASSWD]


@pytest.mark.parametrize("filler", ["\n", " ", "A", "A "])
def test_what_fills_login_defs_takes_no_time(filler: str) -> None:
    handle = image()
    handle.put("/etc/login.defs", File(filler.encode() * 300_000 + b"\nUID_MIN 500\n", 0o644))
    assert added(handle, users=(UserOp("new"),))[PASSWD] == ["new:x:500:500::/home/new:/bin/sh"]


def test_an_account_file_that_is_much_too_large_is_refused() -> None:
    handle = image()
    handle.put(GROUP, File(b"a:x:1:\n" * (1 << 20), 0o644))
    with pytest.raises(ImageError, match="too large"):
        added(handle, groups=(GroupOp("new"),))


def test_a_group_of_its_own_gets_the_user_s_number_where_that_is_free() -> None:
    handle = image()
    assert added(handle, users=(UserOp("a", uid=2000),))[GROUP] == ["a:x:2000:"]
    assert added(handle, users=(UserOp("a", uid=102),))[GROUP] == ["a:x:1000:"]
    assert GROUP not in added(handle, users=(UserOp("a", group="munge"),))


def test_groups_come_first_and_members_are_added_to_both_files() -> None:
    groups = (GroupOp("atlas", gid=5000), GroupOp("munge"), GroupOp("daemons", system=True))
    users = (UserOp("alice", group="atlas", groups=("munge", "daemons")), UserOp("bob", groups=("munge",)))
    lines = added(image(), groups=groups, users=users)
    assert lines[GROUP] == ["munge:x:102:alice,bob", "atlas:x:5000:", "daemons:x:101:alice", "bob:x:1001:"]
    assert lines[GSHADOW] == ["munge:!::alice,bob", "atlas:!::", "daemons:!::alice", "bob:!::"]
    assert lines[PASSWD][0].startswith("alice:x:1000:5000:")


def test_who_is_a_member_stays_one_once_and_a_group_without_shadow_line_is_joined_too() -> None:
    handle = image()
    handle.put(GROUP, File(b"root:x:0:\nmunge:x:102:root\nadm:x:4:\n", 0o644))
    assert added(handle, users=(UserOp("root", groups=("munge", "adm"), home="/root"),)) == {
        GROUP: ["adm:x:4:root"],
        GSHADOW: ["munge:!::root"],
    }


def test_of_a_user_who_is_there_only_what_is_given_changes() -> None:
    lines = added(image(), users=(UserOp("munge", uid=998, shell="/bin/sh", system=True),))
    assert lines == {PASSWD: ["munge:x:998:102::/nonexistent:/bin/sh"]}
    assert added(image(), users=(UserOp("munge", system=True),), groups=(GroupOp("munge"),)) == {}


@pytest.mark.parametrize("secret", ["$y$j9T$abc", ""])
def test_a_password_that_is_there_is_taken_away(secret: str) -> None:
    handle = image()
    handle.put(SHADOW, File(f"root:{secret}:1::::::\n".encode(), 0o644))
    assert added(handle, users=(UserOp("root", home="/root"),)) == {SHADOW: ["root:!:1::::::"]}


def test_without_shadow_files_the_account_is_locked_where_it_stands() -> None:
    handle = FakeHandle({PASSWD: "root:x:0:0::/root:/bin/sh\n", GROUP: "root:x:0:\n"})
    assert added(handle, users=(UserOp("a", system=True),)) == {
        PASSWD: ["a:!:999:999::/nonexistent:/sbin/nologin"],
        GROUP: ["a:!:999:"],
    }


def test_files_may_belong_to_who_is_made_with_them() -> None:
    recipe = Recipe(users=(UserOp("alice", uid=3000),), files=(FileOp("/a", "", owner="alice", group="alice"),))
    (file,) = [change.after for change in plan_rest(image(), recipe).changes if change.path == "/a"]
    assert file == File(b"", 0o644, 3000, 3000)


@pytest.mark.parametrize(
    ("ops", "named", "reason"),
    [
        ({"users": (UserOp("a", uid=101),)}, "user a", "number of another"),
        ({"users": (UserOp("munge", uid=0),)}, "user munge", "number of another"),
        ({"groups": (GroupOp("a", gid=102),)}, "group a", "number of another"),
        ({"users": (UserOp("a", group="absent"),)}, "user a", "no group"),
        ({"users": (UserOp("a", group="4711"),)}, "user a", "no group"),
        ({"users": (UserOp("a", groups=("absent",)),)}, "user a", "no group"),
    ],
)
def test_what_can_not_be_is_refused_and_named(ops: dict[str, Any], named: str, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        added(image(), **ops)
    assert caught.value.object == named


@pytest.mark.parametrize("path", [PASSWD, GROUP, SHADOW, GSHADOW])
@pytest.mark.parametrize(
    ("node", "said"),
    [
        (SpecialFile(0o10644), "special file"),
        (Symlink("/dev/zero"), "a link"),
        (Folder(0o755), "a folder"),
        (LargeFile(1 << 50, 0o644), "too large"),
        (File(b"a\xff:x:0:0::/:/bin/sh\n", 0o644), "UTF-8"),
        (File(b"root:x:0\n", 0o644), "fields"),
    ],
)
def test_account_files_that_are_none_are_refused(path: str, node: Node, said: str) -> None:
    handle = image()
    # The fake's tree has no large files, the view has.
    view = ImageView(handle)
    view.want(path, node)
    with pytest.raises(ImageError) as caught:
        plan_accounts(view, (GroupOp("new"),), ())
    assert caught.value.object == path
    assert said in str(caught.value)


def test_lines_of_nis_and_lines_with_odd_numbers_stay_as_they_are() -> None:
    handle = image()
    text = "root:x:0:0::/:/bin/sh\nodd:x:" + "9" * 5000 + ":x::/:/bin/sh\n+::::::\n-bob\n"
    handle.put(PASSWD, File(text.encode(), 0o644))
    assert added(handle, users=(UserOp("a"),))[PASSWD] == ["a:x:1000:1000::/home/a:/bin/sh"]
