# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts of the node become account files of a guest."""

from __future__ import annotations

import os
import pwd

import pytest

from wnodes.lrms.accounts import Accounts, account_files

USERS = (("alice", 2001), ("bob", 2002))


def test_users_come_with_their_groups_and_without_their_passwords() -> None:
    root = pwd.struct_passwd(("root", "x", 0, 0, "root", "/root", "/bin/bash"))
    files = {file.path: file for file in account_files([root])}
    assert files["/var/lib/extrausers/passwd"].content == "root:x:0:0:root:/root:/bin/bash\n"
    assert "root:x:0:\n" in files["/var/lib/extrausers/group"].content
    shadow = files["/var/lib/extrausers/shadow"]
    assert (shadow.content, shadow.mode) == ("root:!:::::::\n", 0o640)
    assert all(file.in_place for file in files.values())


def test_a_password_that_stands_in_passwd_stays_on_the_node() -> None:
    old = pwd.struct_passwd(("old", "$6$salt$hash", 0, 0, "", "/", "/bin/sh"))
    assert "hash" not in "".join(file.content for file in account_files([old]))


def test_all_users_of_the_node_are_known_and_the_one_who_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob = (pwd.struct_passwd((name, "x", uid, 100, "", f"/home/{name}", "/bin/sh")) for name, uid in USERS)
    monkeypatch.setattr(pwd, "getpwall", lambda: [alice])
    monkeypatch.setattr(pwd, "getpwnam", lambda name: {"bob": bob}[name])
    monkeypatch.setattr(os, "getgrouplist", lambda _name, gid: [gid])
    accounts = Accounts()

    def names(user: str = "") -> list[str]:
        return [line.partition(":")[0] for line in accounts.files(user)[0].content.splitlines()]

    assert names("alice") == ["alice"]
    assert names("bob") == ["alice", "bob"]
    monkeypatch.setattr(pwd, "getpwall", list)
    assert names() == ["alice"], "it is not looked up each time"
