# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wnodes.model.errors import ConfigError
from wnodes.model.resources import Overheads, Resources

SIZES = st.integers(min_value=0, max_value=1_000_000)


@given(request=SIZES, guest=SIZES, qemu=SIZES)
def test_guest_is_request_and_its_overhead_charge_is_guest_and_qemus(request: int, guest: int, qemu: int) -> None:
    overheads, asked = Overheads(guest, qemu), Resources(2, request, 7)
    assert overheads.guest(asked) == Resources(2, request + guest, 7)
    assert overheads.charge(asked) == Resources(2, request + guest + qemu, 7)


def test_a_negative_overhead_is_refused() -> None:
    with pytest.raises(ConfigError):
        Overheads(guest_mib=-1)
