# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who calls a service of the site, and for whom a certificate speaks: one role on one node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Optional

from .errors import AuthError

#: roles a certificate may carry as ``<role>.wnodes``
ROLES = ("nameserver", "hypervisor", "bait", "manager")
DOMAIN = ".wnodes"
MANAGER = "manager"


@dataclass(frozen=True)
class Caller:
    """Who calls.

    :param role: one of ROLES, or ``user``: somebody at the nameserver's own Unix socket who is not root
    :param node: node name the certificate was made for; empty at the Unix socket
    :param uid: user id of a ``user``
    """

    role: str
    node: str = ""
    uid: Optional[int] = None

    def __str__(self) -> str:
        return f"{self.role} {self.node if self.uid is None else self.uid}".strip()


def certificate_caller(names: Iterable[str]) -> Caller:
    """Return who a certificate with these DNS names speaks for.

    :raises AuthError: it does not carry exactly one role and one node of that role
    """
    stems = [name[: -len(DOMAIN)] for name in names if name.endswith(DOMAIN)]
    roles = [stem for stem in stems if stem in ROLES]
    if len(roles) == 1:
        suffix = "." + roles[0]
        nodes = [stem[: -len(suffix)] for stem in stems if stem.endswith(suffix) and len(stem) > len(suffix)]
        if len(nodes) == 1 and len(stems) == 2:
            return Caller(roles[0], nodes[0])
    raise AuthError(
        object="certificate", value=", ".join(names), reason="does not carry exactly one role",
        hint="it needs <role>.wnodes and <node>.<role>.wnodes; the role `runtime` makes such certificates",
    )  # fmt: skip
