# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pauses grow, and there is a pause for any number of failures."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wnodes.engine.backoff import backoff


def test_pauses_double_up_to_the_longest() -> None:
    assert [backoff(count, 0.5, 3.0) for count in range(1, 6)] == [0.5, 1.0, 2.0, 3.0, 3.0]


@given(st.integers(-5, 10**400), st.floats(1e-3, 1e3), st.floats(1e-3, 1e6))
def test_no_number_of_failures_is_too_high(failures: int, first_s: float, longest_s: float) -> None:
    assert min(first_s, longest_s) <= backoff(failures, first_s, longest_s) <= longest_s
