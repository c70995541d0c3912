# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one user may take, what all may, and that root always gets in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wnodes_services.connections import Bounds


def test_one_user_has_so_many_and_another_gets_in() -> None:
    bounds = Bounds(all=100, each=3)
    assert [bounds.enter(1000) for _ in range(5)] == [True, True, True, False, False]
    assert bounds.enter(1001)
    assert bounds.refused == 2
    bounds.leave(1000)
    assert bounds.enter(1000)


def test_all_users_together_have_so_many_and_root_gets_in() -> None:
    bounds = Bounds(all=4, each=3)
    assert [bounds.enter(uid) for uid in (1, 2, 3, 4, 5)] == [True] * 4 + [False]
    assert all(bounds.enter(0) for _ in range(50))
    assert not bounds.enter(6)
    bounds.leave(1)
    assert bounds.enter(6)


def test_where_nobody_is_known_only_all_together_count() -> None:
    bounds = Bounds(all=20, each=3)
    assert [bounds.enter(None) for _ in range(21)] == [True] * 20 + [False]
    assert all(Bounds().enter(None) for _ in range(1000))


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([None, 0, 1, 2, 3]))))
def test_bounds_hold_and_what_has_left_is_forgotten(moves: list[tuple[bool, int | None]]) -> None:
    bounds, held = Bounds(all=5, each=2), []
    for come, uid in moves:
        if come and bounds.enter(uid):
            held.append(uid)
        elif not come and uid in held:
            held.remove(uid)
            bounds.leave(uid)
        assert len([one for one in held if one != 0]) <= 5
        assert max((held.count(one) for one in (1, 2, 3)), default=0) <= 2
    for uid in held:
        bounds.leave(uid)
    assert bounds._held == {}
