# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The difference between recipe and image, and that doing it leaves none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.plugins.module_utils.image.image_fixture import image
from wnodes.image.recipe import journal_sender
from wnodes.image.recipe.engine import apply
from wnodes.image.recipe.fake import FakeHandle
from wnodes.image.recipe.operations import (
    CommandOp,
    Dns,
    EditOp,
    FileOp,
    GroupOp,
    KernelModules,
    Recipe,
    RemoteSyslog,
    ScriptOp,
    SshKeys,
    Units,
    UserOp,
)
from wnodes.image.recipe.packages import Upgrade
from wnodes.image.recipe.plan import ImageDifference, plan_rest
from wnodes.image.recipe.view import File, Folder, Symlink
from wnodes.model.errors import ImageError

ETC = "/etc/systemd/system"
SCRIPT = ScriptOp("site", "#!/bin/sh\necho\n")
KEY = "ssh-ed25519 AAAA me"

# recipe, what is at some paths afterwards
CASES: dict[str, tuple[Recipe, dict[str, Any]]] = {
    "a new file with its folders": (
        Recipe(files=(FileOp("/opt/a/b", "x", mode="0640", owner="munge", group="102"),)),
        {"/opt": Folder(0o755), "/opt/a": Folder(0o755), "/opt/a/b": File(b"x", 0o640, 101, 102)},
    ),
    "a file instead of a link": (Recipe(files=(FileOp("/lib", "x"),)), {"/lib": File(b"x", 0o644)}),
    "only a mode": (Recipe(files=(FileOp("/root/keep", "", mode="4755"),)), {"/root/keep": File(b"", 0o4755)}),
    "a file below a linked folder": (
        Recipe(files=(FileOp("/lib/x", "1"),)),
        {"/usr/lib/x": File(b"1", 0o644)},
    ),
    "two edits of one file": (
        Recipe(
            edits=(
                EditOp("/etc/nsswitch.conf", "^passwd:", line="passwd: files extrausers"),
                EditOp("/etc/nsswitch.conf", "files$", replacement="files dns"),
            )
        ),
        {"/etc/nsswitch.conf": File(b"passwd: files extrausers\nhosts: files dns\n", 0o644)},
    ),
    "an edit of a file that is written": (
        Recipe(files=(FileOp("/etc/new", "a=1\n"),), edits=(EditOp("/etc/new", "^a=", line="a=2"),)),
        {"/etc/new": File(b"a=2\n", 0o644)},
    ),
    "kernel modules": (
        Recipe(kernel_modules=KernelModules(load=("tun",), blacklist=("floppy",), options={"kvm": "a=1"})),
        {
            "/etc/modules-load.d/wnodes.conf": File(b"tun\n", 0o644),
            "/etc/modprobe.d/wnodes.conf": File(b"blacklist floppy\noptions kvm a=1\n", 0o644),
        },
    ),
    "ssh keys": (
        Recipe(ssh_keys=(SshKeys("root", (KEY, KEY)),)),
        {"/root/.ssh": Folder(0o700), "/root/.ssh/authorized_keys": File(f"{KEY}\n".encode(), 0o600)},
    ),
    "a unit enabled": (
        Recipe(units=Units(enable=("munge.service",))),
        {
            f"{ETC}/multi-user.target.wants/munge.service": Symlink("/usr/lib/systemd/system/munge.service"),
            f"{ETC}/key.service": Symlink("/usr/lib/systemd/system/munge.service"),
        },
    ),
    "a unit that is written and enabled": (
        Recipe(
            files=(FileOp(f"{ETC}/own.service", "[Install]\nRequiredBy=basic.target\n"),),
            units=Units(enable=("own.service",)),
        ),
        {f"{ETC}/basic.target.requires/own.service": Symlink(f"{ETC}/own.service")},
    ),
    "an instance enabled": (
        Recipe(units=Units(enable=("getty@ttyS0.service",))),
        {f"{ETC}/getty.target.wants/getty@ttyS0.service": Symlink("/usr/lib/systemd/system/getty@.service")},
    ),
    "a unit masked": (Recipe(units=Units(mask=("any.timer",))), {f"{ETC}/any.timer": Symlink("/dev/null")}),
    "deleted": (Recipe(delete=("/root", "/absent")), {"/root": None, "/root/keep": None}),
    "a user with a group": (
        Recipe(groups=(GroupOp("g", gid=7),), users=(UserOp("u", uid=8, group="g"),)),
        {"/home/u": Folder(0o700, 8, 7)},
    ),
    "a time zone": (Recipe(timezone="Europe/Rome"), {"/etc/localtime": Symlink("/usr/share/zoneinfo/Europe/Rome")}),
    "name servers": (Recipe(dns=Dns(("192.0.2.1",))), {"/etc/resolv.conf": File(b"nameserver 192.0.2.1\n", 0o644)}),
    "a script": (
        Recipe(scripts=(SCRIPT,)),
        {SCRIPT.stamp: File(f"{SCRIPT.digest}\n".encode(), 0o644), f"{SCRIPT.stamp}.running": None},
    ),
    "a command": (Recipe(commands=(CommandOp(argv=("touch", "/made"), creates="/made"),)), {"/made": File(b"", 0o644)}),
}


def touching(handle: FakeHandle, command: object) -> str:
    assert isinstance(command, list)
    if command[0] == "touch":
        handle.write(command[1], b"")
    return ""


def do(handle: FakeHandle, recipe: Recipe) -> ImageDifference:
    handle.on_command = touching
    difference = plan_rest(handle, recipe)
    handle.remount("/", rw=True)
    apply(handle, difference)
    handle.remount("/", rw=False)
    return difference


@pytest.mark.parametrize("case", CASES)
def test_what_is_planned_is_done_and_then_nothing_is_left_to_do(case: str) -> None:
    recipe, expected = CASES[case]
    handle = image()
    before = dict(handle.tree)
    assert plan_rest(handle, recipe)
    assert handle.tree == before

    difference = do(handle, recipe)
    assert difference.actions()
    assert {path: handle.tree.get(path) for path in expected} == expected

    again = plan_rest(handle, recipe)
    assert not again
    assert again.actions() == again.diff() == []


def test_the_diff_shows_attributes_and_text_and_hides_bulk() -> None:
    handle = image()
    handle.tree["/blob"] = File(b"\0\1", 0o644)
    recipe = Recipe(
        files=(FileOp("/blob", "text\n"), FileOp("/root/keep", "x" * 70000)),
        units=Units(mask=("a.timer",)),
        delete=("/bin/sh",),
        commands=(CommandOp(shell="sync"),),
    )
    shown = {entry["before_header"]: entry for entry in plan_rest(handle, recipe).diff()}
    assert shown["/blob"]["before"].startswith("file, mode 0644, owner 0:0\n2 bytes, sha256 ")
    assert shown["/blob"]["after"] == "file, mode 0644, owner 0:0\ntext\n"
    assert "70000 bytes" in shown["/root/keep"]["after"]
    assert shown[f"{ETC}/a.timer"]["after"] == "link to /dev/null\n"
    assert shown["/bin/sh"]["after"] == ""
    assert shown["commands"]["after"] == "sync\n"


def test_the_diff_tells_versions_and_scripts() -> None:
    difference = ImageDifference(
        removals=("old",), upgrades=(Upgrade("a", "1", "2"), Upgrade("b", "", "1")), packages=("c",), scripts=(SCRIPT,)
    )
    assert [(entry["before_header"], entry["before"], entry["after"]) for entry in difference.diff()] == [
        ("packages removed", "old\n", ""),
        ("packages upgraded", "a 1\n", "a 2\nb 1\n"),
        ("packages", "", "c\n"),
        ("script site", "", "#!/bin/sh\necho\n"),
    ]
    assert difference.actions() == [
        *("remove package old", "upgrade a 1 → 2", "upgrade b 1", "install c", "run script site"),
    ]


def test_a_script_runs_again_when_its_content_is_another_and_not_else() -> None:
    handle = image()
    ran: list[bytes] = []

    def run(handle: FakeHandle, command: object) -> str:
        assert isinstance(command, list)
        node = handle.tree[command[0]]
        assert isinstance(node, File) and node.mode == 0o700
        ran.append(node.content)
        return ""

    for content in ("#!/bin/a", "#!/bin/b", "#!/bin/b", "#!/bin/a"):
        difference = plan_rest(handle, Recipe(scripts=(ScriptOp("site", content),)))
        handle.on_command = run
        handle.remount("/", rw=True)
        apply(handle, difference)
    assert ran == [b"#!/bin/a", b"#!/bin/b", b"#!/bin/a"]


def test_a_script_that_fails_is_named() -> None:
    handle = image()

    def fail(_handle: FakeHandle, _command: object) -> str:
        raise RuntimeError("exit 3")

    handle.on_command = fail
    handle.remount("/", rw=True)
    with pytest.raises(ImageError) as caught:
        apply(handle, plan_rest(handle, Recipe(scripts=(SCRIPT,))))
    assert (caught.value.value, caught.value.reason) == ("site", "exit 3")


def test_keys_that_are_there_stay_unless_exclusive() -> None:
    handle = image()
    do(handle, Recipe(ssh_keys=(SshKeys("root", (KEY,)),)))
    other = "ssh-rsa BBBB you"
    do(handle, Recipe(ssh_keys=(SshKeys("root", (other,)),)))
    assert handle.read_file("/root/.ssh/authorized_keys").decode().splitlines() == [KEY, other]
    do(handle, Recipe(ssh_keys=(SshKeys("root", (other,), exclusive=True),)))
    assert handle.read_file("/root/.ssh/authorized_keys").decode().splitlines() == [other]


@pytest.mark.parametrize(
    ("host", "protocol", "rule"),
    [("10.0.0.1", "tcp", "*.* @@10.0.0.1:514\n"), ("fd00::1", "udp", "*.* @[fd00::1]:514\n")],
)
def test_syslog_goes_through_rsyslog_where_there_is_one(host: str, protocol: str, rule: str) -> None:
    handle = image()
    handle.tree["/etc/rsyslog.d"] = Folder(0o755)
    do(handle, Recipe(remote_syslog=RemoteSyslog(host, protocol=protocol)))
    assert handle.read_file("/etc/rsyslog.d/50-wnodes-remote.conf").decode() == rule


def test_syslog_comes_from_the_journal_where_there_is_no_rsyslog() -> None:
    handle = image()
    do(handle, Recipe(remote_syslog=RemoteSyslog("logs", port=601)))
    unit = handle.read_file(f"{ETC}/wnodes-syslog.service").decode()
    assert "send-journal logs 601 tcp" in unit
    assert handle.tree[journal_sender.SCRIPT_PATH] == File(journal_sender.SCRIPT.encode(), 0o755)
    assert handle.tree[f"{ETC}/multi-user.target.wants/wnodes-syslog.service"] == Symlink(
        f"{ETC}/wnodes-syslog.service"
    )


def test_what_is_deleted_is_deleted_again_after_commands() -> None:
    handle = image()
    recipe = Recipe(commands=(CommandOp(argv=("touch", "/trace")),), delete=("/trace",))
    do(handle, recipe)
    assert "/trace" not in handle.tree


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        (Recipe(edits=(EditOp("/absent", "a", line="b"),)), "/absent"),
        (Recipe(edits=(EditOp("/binary", "a", line="b"),)), "/binary"),
        (Recipe(edits=(EditOp("/circle", "a", line="b"),)), "/circle"),
        (Recipe(files=(FileOp("/root", "x"),)), "/root"),
        (Recipe(files=(FileOp("/root/keep/x", "x"),)), "/root/keep/x"),
        (Recipe(files=(FileOp("/a", "x", owner="nobody-here"),)), "user"),
        (Recipe(files=(FileOp("/a", "x", group="nobody-here"),)), "group"),
        (Recipe(ssh_keys=(SshKeys("nobody-here", (KEY,)),)), "user"),
        (Recipe(units=Units(enable=("absent.service",))), "unit absent.service"),
        (Recipe(units=Units(enable=("plain.service",))), "unit plain.service"),
        (Recipe(files=(FileOp(f"{ETC}/a.timer", "x"),), units=Units(mask=("a.timer",))), "unit a.timer"),
    ],
)
def test_what_the_image_can_not_take_is_refused_and_named(recipe: Recipe, named: str) -> None:
    handle = image()
    handle.tree["/binary"] = File(b"\xff\0", 0o644)
    handle.tree["/circle"] = Symlink("/circle")
    with pytest.raises(ImageError) as caught:
        plan_rest(handle, recipe)
    assert caught.value.object == named
