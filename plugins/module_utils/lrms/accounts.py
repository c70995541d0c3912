# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's accounts as files for its guests, which read them by libnss-extrausers."""

from __future__ import annotations

import contextlib
import grp
import logging
import os
import pwd
import time
from typing import Dict, FrozenSet, List, Sequence, Tuple

from ..model.vm import GuestFile

log = logging.getLogger(__name__)

#: users that a VM is told of at the most
MOST = 5000
FIRST_UID = 1000
#: how long what was looked up is believed, in seconds: thousands of users take seconds
GOOD_S = 60.0


def account_files(users: Sequence[pwd.struct_passwd]) -> Tuple[GuestFile, ...]:
    """Return what makes users known in a guest, with their groups as this node knows them."""
    names: Dict[int, str] = {}
    members: Dict[int, List[str]] = {}
    for user in users:
        for gid in os.getgrouplist(user.pw_name, user.pw_gid):
            listed = members.setdefault(gid, [])
            if gid != user.pw_gid:  # of one's own group one is no listed member
                listed.append(user.pw_name)
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


class Accounts:
    """What makes a node's users known in a guest; looked up at most once in ``GOOD_S`` seconds."""

    def __init__(self) -> None:
        self._known: Tuple[float, FrozenSet[str], Tuple[GuestFile, ...]] = (0.0, frozenset(), ())

    def files(self, user: str = "") -> Tuple[GuestFile, ...]:
        """Return what makes the users that this node lists known, and ``user``, whom it may know without listing it."""
        at, names, files = self._known
        if not files or time.monotonic() - at > GOOD_S or (user and user not in names):
            users = [known for known in pwd.getpwall() if known.pw_uid >= FIRST_UID and known.pw_name != "nobody"]
            if len(users) > MOST:
                log.warning("VMs are told of the first %d of this node's %d users", MOST, len(users))
            users = users[:MOST]
            names = frozenset(known.pw_name for known in users)
            if user and user not in names:
                users.append(pwd.getpwnam(user))
            files = account_files(users)
            if not user or user in names:  # nobody else's VM need know of one that is not listed
                self._known = time.monotonic(), names, files
        return files
