# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The placeholders of a node."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.plugins.module_utils.lrms.slurm_fixture import JOB, ORIGINAL, Played, slurm
from wnodes.model.errors import RequestError
from wnodes.model.resources import Resources


def test_a_placeholder_that_waits_is_let_go_before_its_job_leaves() -> None:
    played = Played()
    slurm(played).stop(JOB, "m", "12")
    assert played.said()[1] == "scontrol < update JobId=12 TimeLimit=75\nrelease 12\nrequeue 7\n"


def test_a_placeholder_is_submitted_once_for_each_key() -> None:
    played = Played(sbatch="12\n")
    assert slurm(played).place("abc", Resources(2, 700), JOB) == "12"
    played.answers["squeue"] = "12 wnodes-abc hv1 wnhold\n"
    assert slurm(played).place("abc", Resources(2, 700), JOB) == "12"
    submitted = [call for call in played.calls if call[0] == "sbatch"]
    assert len(submitted) == 1
    assert {"--partition=wnhold", "--nodelist=hv1", "--cpus-per-task=2", "--mem=700M"} <= set(submitted[0])


@pytest.mark.parametrize(
    ("limit", "time"), [("1:00:00", "75"), ("2-00:00:30", "2896"), ("UNLIMITED", "UNLIMITED"), ("5:00", "20")]
)
def test_a_placeholder_asks_for_the_time_of_its_job_and_a_margin(limit: str, time: str) -> None:
    played = Played(sbatch="12\n")
    slurm(played).place("abc", Resources(1, 700), replace(JOB, fixed={**ORIGINAL, "TimeLimit": limit}))
    assert f"--time={time}" in played.calls[-1]


def test_a_placeholder_is_in_the_reservation_of_its_job_which_is_opened_to_root() -> None:
    played = Played(sbatch="12\n", scontrol_show="ReservationName=course Users=alice Accounts=(null)\n")
    job = replace(JOB, fixed={**ORIGINAL, "ReservationName": "course"})
    slurm(played).place("abc", Resources(1, 700), job)
    assert "scontrol update ReservationName=course Users+=root" in played.said()
    assert "--reservation=course" in played.calls[-1]
    played.answers["scontrol show"] = "ReservationName=course Users=alice,root Accounts=(null)\n"
    played.calls.clear()
    slurm(played).place("abc", Resources(1, 700), job)
    assert not any("Users+=" in said for said in played.said())


def test_a_reservation_of_accounts_alone_is_left_as_it_is_and_the_job_refused() -> None:
    played = Played(scontrol_show="ReservationName=course Users=(null) Accounts=phys\n")
    with pytest.raises(RequestError, match="for accounts or groups only"):
        slurm(played).place("abc", Resources(1, 700), replace(JOB, fixed={**ORIGINAL, "ReservationName": "course"}))
    assert not any("update" in said for said in played.said())


def test_a_placeholder_that_waits_has_a_job_that_nudges_the_scheduler_and_both_go_together() -> None:
    played = Played(sbatch="12\n")
    backend = slurm(played)
    backend.place("abc", Resources(2, 700))
    nudge, placeholder = (call for call in played.calls if call[0] == "sbatch")
    assert {"--hold", "--job-name=wnnudge-abc", "--mem=1M"} <= set(nudge)
    assert {"--hold", "--job-name=wnodes-abc", "--mem=700M"} <= set(placeholder)
    played.answers["squeue"] = "12 wnodes-abc hv1 wnhold\n11 wnnudge-abc hv1 wnhold\n"
    assert backend.placeholders() == {"abc": "12"}
    backend.stop(JOB, "m", "12")
    let_go = "update JobId=12 TimeLimit=75\nrelease 12\nrelease 11\nrequeue 7\n"
    assert f"scontrol < {let_go}" in played.said()
    backend.unplace("abc")
    assert played.said()[-1] == "scancel 12 11"


def test_an_offer_that_is_kept_goes_before_what_replaces_it_comes() -> None:
    played = Played(sbatch="12\n")
    backend = slurm(played)
    backend.offer("abc", Resources(1, 700))
    assert "--partition=wnoffer" in played.calls[-1]
    played.answers["squeue"] = "12 wnodes-abc hv1 wnoffer\n"
    assert backend.offer("abc", Resources(1, 700)) == "12"
    played.answers["sbatch"] = "13\n"
    assert backend.keep("abc", Resources(1, 700), JOB) == "13"
    assert [call[0] for call in played.calls[-2:]] == ["scancel", "sbatch"]
    assert "--partition=wnhold" in played.calls[-1]
    played.answers["squeue"] = "13 wnodes-abc hv1 wnhold\n"
    assert backend.keep("abc", Resources(1, 700), JOB) == "13"
    assert played.calls[-1][0] == "squeue"


def test_placeholders_of_other_nodes_are_theirs() -> None:
    played = Played(squeue="12 wnodes-abc hv1 wnhold\n13 wnodes-def hv2 wnhold\n14 backup hv1 wnhold\n")
    assert slurm(played).placeholders() == {"abc": "12"}
