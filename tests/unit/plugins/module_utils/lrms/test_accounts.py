# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts of the node become account files of a guest."""

from __future__ import annotations

import pwd

from wnodes.lrms.accounts import account_files


def test_users_come_with_their_groups_and_without_their_passwords() -> None:
    root = pwd.struct_passwd(("root", "x", 0, 0, "root", "/root", "/bin/bash"))
    files = {file.path: file for file in account_files([root])}
    assert files["/var/lib/extrausers/passwd"].content == "root:x:0:0:root:/root:/bin/bash\n"
    assert "root:x:0:root\n" in files["/var/lib/extrausers/group"].content
    shadow = files["/var/lib/extrausers/shadow"]
    assert (shadow.content, shadow.mode) == ("root:!:::::::\n", 0o640)
    assert all(file.in_place for file in files.values())
