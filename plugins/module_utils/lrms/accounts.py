# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's accounts as files for its guests, which read them by libnss-extrausers."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from typing import Dict, List, Sequence, Tuple

from ..model.vm import GuestFile


def account_files(users: Sequence[pwd.struct_passwd]) -> Tuple[GuestFile, ...]:
    """Return what makes users known in a guest, with their groups as this node knows them."""
    names: Dict[int, str] = {}
    members: Dict[int, List[str]] = {}
    for user in users:
        for gid in os.getgrouplist(user.pw_name, user.pw_gid):
            members.setdefault(gid, []).append(user.pw_name)
    for gid in members:
        with contextlib.suppress(KeyError):
            names[gid] = grp.getgrgid(gid).gr_name
    files = {
        # where a node has passwords in it, they stay there
        "passwd": "".join(":".join(map(str, (user.pw_name, "x", *user[2:]))) + "\n" for user in users),
        "group": "".join(f"{name}:x:{gid}:{','.join(members[gid])}\n" for gid, name in names.items()),
        "shadow": "".join(f"{user.pw_name}:!:::::::\n" for user in users),
    }
    modes = {"shadow": 0o640}
    return tuple(
        GuestFile(f"/var/lib/extrausers/{name}", content, modes.get(name, 0o644), in_place=True)
        for name, content in files.items()
    )
