# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fake handle fails where the real one does."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from wnodes.image.recipe.fake import FakeHandle
from wnodes.image.recipe.view import File, Symlink


@pytest.fixture
def handle() -> FakeHandle:
    made = FakeHandle({"/etc/motd": "hello", "/lib": Symlink("usr/lib"), "/usr/lib/x": "1"})
    made.remount("/", rw=True)
    return made


def test_a_fresh_launch_is_read_only(handle: FakeHandle) -> None:
    handle.launch()
    for call in (lambda: handle.write("/a", b""), lambda: handle.rm_rf("/etc"), lambda: handle.mkdir_p("/b")):
        with pytest.raises(RuntimeError, match="Read-only"):
            call()


def test_a_file_needs_its_folder_and_keeps_its_mode(handle: FakeHandle) -> None:
    with pytest.raises(RuntimeError, match="No such file"):
        handle.write("/absent/file", b"")
    handle.chmod(0o600, "/etc/motd")
    handle.chown(1, 2, "/etc/motd")
    handle.write("/etc/motd", b"x")
    assert handle.tree["/etc/motd"] == File(b"x", 0o600)


def test_linked_folders_are_followed_and_links_themselves_are_not(handle: FakeHandle) -> None:
    assert handle.read_file("/lib/x") == b"1"
    assert handle.is_dir("/lib", followsymlinks=True)
    assert not handle.is_dir("/lib", followsymlinks=False)
    assert handle.readlink("/lib") == "usr/lib"
    with pytest.raises(RuntimeError, match="Is a directory"):
        handle.read_file("/etc")


def test_missing_names_are_marked_and_a_missing_folder_is_an_error(handle: FakeHandle) -> None:
    present, absent = handle.lstatnslist("/etc", ["motd", "absent"])
    assert (present["st_size"], absent["st_ino"]) == (5, -1)
    with pytest.raises(RuntimeError, match="Not a directory"):
        handle.lstatnslist("/absent", ["a"])


def test_files_go_in_and_out(handle: FakeHandle, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"data")
    handle.upload(str(tmp_path / "in"), "/etc/in")
    handle.download("/etc/in", str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == b"data"
    handle.rm_rf("/etc")
    assert handle.glob_expand("/etc*") == []


def test_a_mounted_drive_covers_what_was_there_until_it_is_gone(handle: FakeHandle) -> None:
    handle.mount("/dev/sdb", "/usr/lib")
    assert handle.ls("/usr/lib") == []
    handle.write("/lib/y", b"2")
    assert handle.ls("/lib") == ["y"]
    handle.umount("/usr/lib", lazyunmount=True)
    assert handle.ls("/usr/lib") == ["x"]


def test_parts_sums_and_globs_are_the_appliance_s(handle: FakeHandle) -> None:
    assert (handle.pread("/etc/motd", 2, 1), handle.pread("/etc/motd", 9, 4), handle.pread("/etc/motd", 9, 9)) == (
        *(b"el", b"o", b""),
    )
    assert handle.checksum("sha256", "/etc/motd") == hashlib.sha256(b"hello").hexdigest()
    assert handle.glob_expand("/etc*") == ["/etc/"]  # folders are marked


def test_with_a_network_no_command_runs_in_a_read_only_image(handle: FakeHandle) -> None:
    handle.set_network(True)
    handle.launch()
    for call in (lambda: handle.command(["true"]), lambda: handle.sh("true")):
        with pytest.raises(RuntimeError, match="Read-only"):
            call()
    handle.set_network(False)
    assert handle.sh("true") == ""
