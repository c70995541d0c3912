# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wnodes.model.errors import NotFoundError, RequestError
from wnodes.model.hostlist import chosen, expand


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("hv1", ("hv1",)),
        ("hv1,hv2", ("hv1", "hv2")),
        ("node[01-03,7],head", ("node01", "node02", "node03", "node7", "head")),
        ("r[1-2]n[8-9]", ("r1n8", "r1n9", "r2n8", "r2n9")),
        ("hv[ab]", ("hv[ab]",)),
        ("hv*,,hv?", ("hv*", "hv?")),
    ],
)
def test_lists_are_expanded_in_their_order(text: str, names: tuple[str, ...]) -> None:
    assert expand(text) == names


@pytest.mark.parametrize(
    ("text", "said"),
    [("hv[1-3", "without its partner"), ("hv1]", "without its partner"), ("hv[[1]]", "without its partner"),
     ("hv[3-1]", "3-1 is no range"), ("hv[0-99999999]", "no range"), ("a[1-999]b[1-999]", "names more than")],
)  # fmt: skip
def test_a_slip_of_the_pen_is_told(text: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        expand(text)


@given(st.text(alphabet="ab[],-012*", max_size=20))
def test_any_text_is_expanded_or_refused(text: str) -> None:
    try:
        names = expand(text)
    except RequestError:
        return
    assert all(names)


KNOWN = ("hv2", "hv1", "head", "node01", "hv1")


@pytest.mark.parametrize(
    ("wanted", "hosts"),
    [
        ((), ("head", "hv1", "hv2", "node01")),
        (("hv*",), ("hv1", "hv2")),
        (("hv[1-2],head",), ("head", "hv1", "hv2")),
        (("node[01-01]", "hv[!1]"), ("hv2", "node01")),
    ],
)
def test_names_lists_and_patterns_choose_hosts(wanted: tuple[str, ...], hosts: tuple[str, ...]) -> None:
    assert chosen(wanted, KNOWN) == hosts


def test_what_means_no_host_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(NotFoundError, match=r"host hv3: there is no such host here; known hosts: head, hv1, hv2"):
        chosen(("hv[1-3]",), KNOWN)
    with pytest.raises(NotFoundError, match="none yet"):
        chosen(("hv*",), ())
