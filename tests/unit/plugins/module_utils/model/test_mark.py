# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mark in the LRMS's job."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wnodes.model.mark import MAX_LENGTH, Mark, is_under_way

UNDO = {"Partition": "main,long", "ReqNodeList": "hv[1-2]", "ReservationName": "", "Requeue": "0"}


def test_all_that_has_to_be_undone_comes_back_out_of_the_text() -> None:
    mark = Mark("ab12", "hv1", 2, "why not", 3, 4, "hv2", True, UNDO)
    assert Mark.parse(str(mark)) == mark
    assert " " not in str(Mark("ab12", "hv1", 2, "", 3, 4, "hv2", False, UNDO))


def test_marks_of_earlier_versions_are_read() -> None:
    assert Mark.parse("wnodes:ab12:hv1:2 it broke") == Mark("ab12", "hv1", 2, "it broke")


def test_a_job_is_in_somebodys_hands_while_something_has_to_be_undone() -> None:
    assert is_under_way(str(Mark("a", "hv1", 1, undo=UNDO)))
    assert not is_under_way(str(Mark("a", "hv1", 1, "it was returned", stops=2)))
    assert not is_under_way("somebody else's?Partition=x")


@given(st.text(max_size=4000), st.dictionaries(st.sampled_from(sorted(UNDO)), st.text(max_size=80)))
def test_whatever_the_reason_holds_the_rest_is_read_back(reason: str, undo: dict[str, str]) -> None:
    text = str(Mark("a", "hv1", 1, reason, undo=undo))
    assert len(text) <= MAX_LENGTH and text.isprintable()
    found = Mark.parse(text)
    assert found is not None and (found.id, found.bait, found.attempt) == ("a", "hv1", 1)
    assert found.undo == undo


@given(st.text())
def test_no_text_of_others_is_an_error(text: str) -> None:
    Mark.parse("wnodes:a:hv1:1?stops=" + text)
