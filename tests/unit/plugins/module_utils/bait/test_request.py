# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From wishes to requests, and the mark in the LRMS's job."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wnodes.bait.request import Mark, groups, labels, printable, size_mib
from wnodes.model.errors import RequestError
from wnodes.model.job import Job, JobRequest
from wnodes.model.resources import Overheads, Resources
from wnodes.model.states import JobState
from wnodes.model.vm import VmRequest
from wnodes.virt.policy import check_request


@pytest.mark.parametrize(("text", "mib"), [("512", 512), ("2G", 2048), ("1K", 1), ("1T", 1048576)])
def test_sizes_are_mib_rounded_up(text: str, mib: int) -> None:
    assert size_mib(text, "scratch") == mib


@pytest.mark.parametrize("text", ["", "1.5G", "-1", "1Q", "$(id)"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(RequestError):
        size_mib(text, "scratch")


@given(st.text(max_size=200))
def test_a_mark_survives_any_reason(reason: str) -> None:
    mark = Mark.parse(str(Mark("abc123", "hv1", 2, reason)))
    assert mark is not None
    assert (mark.id, mark.bait, mark.attempt) == ("abc123", "hv1", 2)
    assert "\n" not in mark.reason


def test_other_texts_are_no_marks() -> None:
    assert Mark.parse("my own comment") is None
    assert Mark.parse("wnodes:") is None


@given(st.text(max_size=200), st.text(max_size=40))
def test_labels_are_such_that_a_hypervisor_takes_them(name: str, user: str) -> None:
    asked = JobRequest("worker_debian12_x86_64", Resources(1, 512))
    job = Job("abc123", "7_1", user, 1000, asked, JobState.HELD, name=printable(name))
    made = labels(job)
    assert made["job"] == "7_1"
    check_request(VmRequest("abc123", "x", asked.tag, asked.resources, (), made), (), 8192, Overheads())


def test_what_is_not_known_of_a_job_is_no_label() -> None:
    job = Job("abc123", "7", "alice", 1000, JobRequest("", Resources(1, 512)), JobState.HELD)
    assert labels(job) == {"job": "7", "user": "alice"}


def test_a_user_s_groups_are_those_of_this_node_and_an_unknown_user_has_none() -> None:
    assert "root" in groups("root")
    assert groups("nobody-of-this-name") == ()
