# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For whom a certificate speaks."""

from __future__ import annotations

import pytest

from wnodes.model.caller import Caller, certificate_caller
from wnodes.model.errors import AuthError


def test_a_certificate_speaks_for_one_role_on_one_node() -> None:
    assert certificate_caller(("bait.wnodes", "hv1.bait.wnodes")) == Caller("bait", "hv1")


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("bait.wnodes",),
        ("hv1.bait.wnodes",),
        ("bait.wnodes", "hv1.hypervisor.wnodes"),
        ("bait.wnodes", "hypervisor.wnodes", "hv1.bait.wnodes"),
        ("bait.wnodes", "hv1.bait.wnodes", "hv2.bait.wnodes"),
        ("bait.wnodes", ".bait.wnodes"),
        ("root.wnodes", "hv1.root.wnodes"),
        ("bait.example.org", "hv1.bait.example.org"),
    ],
)
def test_any_other_certificate_speaks_for_nobody(names: tuple[str, ...]) -> None:
    with pytest.raises(AuthError, match="exactly one role"):
        certificate_caller(names)
