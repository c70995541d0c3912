# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Slurm backend against a runner that plays Slurm."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.lrms.slurm_fixture import JOB, ORIGINAL, Particular, Played, slurm
from tests.unit.plugins.module_utils.lrms.test_slurm_text import NODE, row
from wnodes.lrms.base import AVOIDED, LrmsJob, LrmsJobState, NodeRoom, Wish
from wnodes.lrms.slurm_commands import SlurmConfig
from wnodes.model.errors import ConfigError, LrmsError, LrmsRefused, NotFoundError, RequestError
from wnodes.model.job import Dispatch, Hold
from wnodes.model.resources import Resources


def test_the_name_of_a_job_is_asked_for_by_its_id_and_need_not_be_there() -> None:
    played = Played(scontrol_show="JobId=7 JobName=my job UserId=alice(2001) GroupId=users(100) Name=x\n")
    assert slurm(played).name("7") == "my job"
    assert played.said() == ["scontrol show -o job 7"]
    assert slurm(Played(scontrol_show="error: Invalid job id specified")).name("7") == ""


def test_mark_and_hold_are_one_call_and_come_before_the_requeue() -> None:
    played = Played()
    slurm(played).stop(JOB, "wnodes:a:hv1:1 for a reason")
    assert played.said() == [
        "scontrol update JobId=7 AdminComment=wnodes:a:hv1:1 for a reason Priority=0 Requeue=1",
        "scontrol < requeue 7\n",
        "scontrol show config",
    ]


def test_a_job_that_has_left_already_is_held_and_one_that_is_over_left_alone() -> None:
    played = Played()
    slurm(played).stop(replace(JOB, state=LrmsJobState.PENDING), "m")
    assert played.said() == ["scontrol update JobId=7 AdminComment=m Priority=0 Requeue=1"]
    played = Played()
    slurm(played).stop(replace(JOB, state=LrmsJobState.ENDED), "m")
    assert played.said() == []


TOLD = "scontrol notify 7 a job with a terminal can't go to a VM: submit it with sbatch"


@pytest.mark.parametrize("fails", [False, True])
def test_a_job_that_waits_at_a_terminal_is_told_why_and_cancelled_since_it_can_not_be_put_back(fails: bool) -> None:
    played = Played(scontrol_notify="error: Job/step already completing") if fails else Played()
    slurm(played).stop(replace(JOB, fixed={**ORIGINAL, "BatchFlag": "0"}), "m")
    assert played.said() == ["scontrol update JobId=7 AdminComment=m", TOLD, "scancel 7"]


def test_a_batch_job_that_is_cancelled_has_no_terminal_to_be_told_at() -> None:
    played = Played()
    slurm(played).cancel(JOB, "m")
    assert played.said() == ["scontrol update JobId=7 AdminComment=m", "scancel 7"]


def test_sending_keeps_time_limit_and_requeue_and_frees_only_what_is_pinned() -> None:
    played = Played()
    job = replace(JOB, fixed={**ORIGINAL, "TimeLimit": "10:00", "Nice": "77"})
    slurm(played).send(job, "vwn-100", ORIGINAL, "wnodes:a:hv1:1?Requeue=0")
    assert played.said() == [
        "scontrol < update ReservationName=wn_vwn-100 Users=alice\n"
        "update JobId=7 Partition=wnvm ReqNodeList=vwn-100 ReservationName=wn_vwn-100"
        " TimeLimit=10:00 Requeue=0 StartTime=now AdminComment=wnodes:a:hv1:1?Requeue=0\n",
        "scontrol release 7",
        "scontrol update JobId=7 Nice=77",
    ]
    played = Played(scontrol="error: Invalid node name specified")
    with pytest.raises(NotFoundError):
        slurm(played).send(JOB, "vwn-100", ORIGINAL, "m")
    assert len(played.calls) == 1


def test_a_user_whose_name_can_not_be_told_on_standard_input_is_told_as_an_argument() -> None:
    played = Played()
    slurm(played).send(replace(JOB, user="DOM\\alice"), "vwn-100", ORIGINAL, "m")
    assert played.said()[0] == "scontrol update ReservationName=wn_vwn-100 Users=DOM\\alice"


def test_the_room_of_a_node_is_what_no_job_has_and_our_own_drain_closes_it_to_nobody() -> None:
    shown = "NodeName=hv1 CPUAlloc=1 CPUTot=4 RealMemory=6000 AllocMem=512 State=MIXED"
    room = slurm(Played(scontrol_show=shown)).room()
    assert room == NodeRoom(Resources(4, 6000), Resources(3, 5488), True)
    drained = shown.replace("MIXED", "MIXED+DRAIN")
    assert not slurm(Played(scontrol_show=f"{drained} Reason=disk [root@2026]")).room().open
    assert slurm(Played(scontrol_show=f"{drained} Reason=wnodes: libvirt [root@2026]")).room().open
    with pytest.raises(LrmsError, match="is not known"):
        slurm(Played(scontrol_show="error: Node hv1 not found")).room()


def test_giving_back_restores_marks_and_only_then_releases() -> None:
    shown = "JobId=7 ExcNodeList=hv[8-9]\n"
    played = Played(
        squeue=row(Partition="wnvm", ReqNodes="vwn-100", Reservation="wn_vwn-100", TimeLimit="10:00"),
        scontrol_show=shown,
    )
    original = {**ORIGINAL, "Partition": "main,long", AVOIDED: "hv8"}
    slurm(played).give_back("7", original, "wnodes:a:hv1:2 it broke", 29.2, avoid_node=True)
    assert played.said()[1:] == [
        "scontrol show -o job 7",
        "scontrol update JobId=7 Partition=main,long ReqNodeList= ReservationName= TimeLimit=10:00"
        " Requeue=0 StartTime=now+30 ExcNodeList=hv9,hv1 AdminComment=wnodes:a:hv1:2 it broke",
        "scontrol release 7",
    ]


def test_what_was_never_tied_stays_as_its_owner_has_it() -> None:
    played = Played(squeue=row(Partition="main,long", prioritylong="0"))
    slurm(played).give_back("7", {"Requeue": "1"}, "m")
    assert played.said()[1:] == ["scontrol update JobId=7 Requeue=1 StartTime=now AdminComment=m", "scontrol release 7"]


@pytest.mark.parametrize(("hold", "said"), [(Hold.OWNER, ["scontrol uhold 7"]), (Hold.ADMINISTRATOR, [])])
def test_a_job_that_somebody_holds_stays_held_by_whom_it_was(hold: Hold, said: list[str]) -> None:
    played = Played(squeue=row(prioritylong="0"))
    slurm(played).give_back("7", {"Requeue": "1"}, "m", hold=hold)
    assert played.said()[1:-1] == said
    assert "release" not in " ".join(played.said())


def test_a_reservation_that_is_over_does_not_keep_a_job_in_our_hands() -> None:
    over = "slurm_update error: Requested reservation is invalid"
    tied = row(Partition="wnvm", ReqNodes="vwn-100", Reservation="wn_vwn-100")
    played = Particular("ReservationName=course", over, squeue=tied)
    slurm(played).give_back("7", {**ORIGINAL, "ReservationName": "course"}, "m")
    said = played.said()
    assert "scontrol update JobId=7 Partition=main" in said
    assert "scontrol update JobId=7 ReservationName=" in said
    assert said[-2:] == ["scontrol update JobId=7 Requeue=0 StartTime=now AdminComment=m", "scontrol release 7"]


@pytest.mark.parametrize("said", ["Resource temporarily unavailable", "Access/permission denied"])
def test_a_job_that_can_not_be_kept_off_the_nodes_is_not_released(said: str) -> None:
    tied = row(Partition="wnvm", ReqNodes="vwn-100", Reservation="wn_vwn-100")
    played = Particular("StartTime", f"slurm_update error: {said}", squeue=tied)
    with pytest.raises(LrmsError):
        slurm(played).give_back("7", ORIGINAL, "m", 120)
    assert not any("release" in command for command in played.said())


def test_a_job_that_has_started_meanwhile_keeps_its_mark() -> None:
    pending = "Job is no longer pending execution for job 7"
    played = Particular("Partition=main", pending, squeue=row(State="RUNNING", Partition="wnvm", NodeList="vwn-100"))
    with pytest.raises(LrmsRefused, match="no longer pending"):
        slurm(played).give_back("7", ORIGINAL, "m")
    assert "scontrol update JobId=7 AdminComment=m" not in played.said()


def test_the_jobs_on_a_host_are_those_that_run_there_the_first_one_first() -> None:
    rows = [row(JobArrayID=n, JobID=n, State="RUNNING", NodeList=host) for n, host in (("9", "vwn-1"), ("8", "vwn-1"))]
    other = row(JobArrayID="7", JobID="7", State="RUNNING", NodeList="hv1")
    assert [job.id for job in slurm(Played(squeue="".join([*rows, other]))).jobs_on("vwn-1")] == ["8", "9"]
    assert slurm(Played(squeue="error: Invalid node name specified")).jobs_on("vwn-1") == ()


def test_a_job_on_several_hosts_is_on_each_of_them() -> None:
    wide = row(JobArrayID="7", JobID="7", State="RUNNING", NodeList="hv[1-3]")
    assert [job.id for job in slurm(Played(squeue=wide)).jobs_on("hv2")] == ["7"]


def test_an_unknown_job_is_none_and_a_silent_slurm_an_error() -> None:
    assert slurm(Played(squeue="error: Invalid job id specified")).job("7") is None
    with pytest.raises(LrmsError):
        slurm(Played(squeue="error: Unable to contact slurm controller")).job("7")


def test_a_task_is_found_by_the_number_the_prolog_has_of_it_also_where_that_is_the_arrays_id() -> None:
    played = Played(squeue=row(JobArrayID="75_1", JobID="76") + row(JobArrayID="75_2", JobID="75"))
    found = [slurm(played).job(number) for number in ("76", "75", "75_1", "75_3")]
    assert [job.id if job else None for job in found] == ["75_1", "75_2", "75_1", None]


def test_the_largest_node_is_looked_for_among_baits_that_serve_the_tag() -> None:
    listing = "hv1\x1f6000\x1fbait,vm_a\x1f\nhv2\x1f9000\x1fbait\x1f\nvwn-1\x1f9999\x1fwnvm,vm_a\x1f\n"
    assert slurm(Played(sinfo=listing)).largest_node_mib("a") == 6000


def test_features_are_merged_and_our_own_drain_is_ended() -> None:
    played = Played(scontrol_show=NODE)
    assert slurm(played).advertise(("x_y_z",), "") is True
    assert played.said()[1:] == [
        "scontrol update NodeName=hv1 AvailableFeatures=bait,vm_x_y_z ActiveFeatures=bait,vm_x_y_z",
        "scontrol update NodeName=hv1 State=RESUME",
    ]


def test_an_administrators_drain_is_left_alone() -> None:
    played = Played(scontrol_show=NODE.replace("wnodes: hypervisor", "disk: broken"))
    slurm(played).advertise(("x_y_z",), "")
    assert not any("RESUME" in call for call in played.said())


def test_a_problem_closes_the_node() -> None:
    played = Played(scontrol_show=NODE.replace("IDLE+DRAIN", "IDLE"))
    slurm(played).advertise(("a_b_c",), "the hypervisor does not answer")
    assert "scontrol update NodeName=hv1 State=DRAIN Reason=wnodes: the hypervisor does not answer" in played.said()


def test_the_reason_of_our_own_drain_is_kept_up_to_date_and_what_is_offered_stays() -> None:
    played = Played(scontrol_show=NODE)
    lrms = slurm(played)
    assert lrms.advertise(None, "root drained it:  new\nkernel") is True
    drained = "scontrol update NodeName=hv1 State=DRAIN Reason=wnodes: root drained it: new kernel"
    assert played.said()[1:] == [drained]
    said = NODE.partition("Reason=")[0] + "Reason=wnodes: root drained it: new kernel [root@2026-01-01T00:00:00]"
    played.answers["scontrol show"] = said
    assert lrms.advertise(None, "root drained it: new kernel") is False
    played.answers["scontrol show"] = said.replace("wnodes: ", "")
    assert lrms.advertise(None, "another one") is False


@pytest.mark.parametrize(("known", "back"), [({}, True), ({"Requeue": "0"}, False), ({"BatchFlag": "0"}, False)])
def test_a_running_job_goes_back_unless_it_can_not_begin_again(known: dict[str, str], back: bool) -> None:
    played = Played()
    fixed = {**ORIGINAL, "Requeue": "1", **known}
    job = LrmsJob("7", LrmsJobState.RUNNING, "alice", 1000, Resources(1, 512), host="vwn-1", fixed=fixed)
    assert slurm(played).requeue(job, "wnodes:r:hv1:1 drained") is back
    assert any("requeue 7" in call for call in played.said()) is back
    assert back or played.calls == []


def left(folder: Path, job: str, age_s: float = 0.0, word: str = "") -> None:
    (folder / job).write_text(word)
    os.utime(folder / job, times=(time.time() - age_s - 0.5,) * 2)


def test_jobs_the_hook_stopped_alone_are_freed_but_for_those_we_know(tmp_path: Path) -> None:
    for number in ("7", "8"):
        left(tmp_path, number)
    played = Played(squeue=row(prioritylong="0"))
    assert slurm(played, adopt_dir=str(tmp_path)).adopt({"8"}) == ("7",)
    assert "scontrol release 7" in played.said()
    assert os.listdir(tmp_path) == []


def test_a_task_the_hook_stopped_alone_is_freed_alone(tmp_path: Path) -> None:
    left(tmp_path, "75_2")
    played = Played(squeue=row(JobArrayID="75_2", JobID="75", prioritylong="0"))
    assert slurm(played, adopt_dir=str(tmp_path)).adopt({"75_1"}) == ("75_2",)
    assert played.said()[2:] == ["scontrol update JobId=75_2 StartTime=now+125", "scontrol release 75_2"]


def test_a_task_of_which_the_hook_knew_the_number_only_is_freed_alone(tmp_path: Path) -> None:
    left(tmp_path, "75", 1000, "Failed=1\n")
    played = Played(squeue=row(JobArrayID="75_2", JobID="75", prioritylong="0"), scontrol_show_=NODE)
    assert slurm(played, adopt_dir=str(tmp_path)).adopt(()) == ("75_2",)
    assert played.said()[-2:] == ["scontrol update JobId=75_2 StartTime=now", "scontrol release 75_2"]


@pytest.mark.parametrize(
    ("age_s", "start"), [(0, "now+125"), (100, "now+25"), (124, "now+1"), (3600, "now"), (-3600, "now+125")]
)
def test_a_job_the_hook_stopped_is_kept_away_for_as_long_as_slurmd_remembers_it(
    tmp_path: Path, age_s: float, start: str
) -> None:
    left(tmp_path, "7", age_s)
    played = Played(squeue=row(prioritylong="0"))
    slurm(played, adopt_dir=str(tmp_path)).adopt(())
    assert f"scontrol update JobId=7 StartTime={start}" in played.said()


@pytest.mark.parametrize(
    ("word", "update"),
    [
        ("Requeue=0\n", "Requeue=0 StartTime=now+125"),
        ("Requeue=1\n", "StartTime=now+125"),
        ("Requeue=now;id\n", "StartTime=now+125"),
        ("\xff\n=\n", "StartTime=now+125"),
    ],
)
def test_a_job_the_hook_stopped_gets_back_what_its_owner_said_of_requeueing(
    tmp_path: Path, word: str, update: str
) -> None:
    left(tmp_path, "7", word=word)
    played = Played(squeue=row(prioritylong="0", requeue="1"))
    slurm(played, adopt_dir=str(tmp_path)).adopt(())
    assert f"scontrol update JobId=7 {update}" in played.said()


@pytest.mark.parametrize(
    "job",
    [row(Reason="JobHeldUser", prioritylong="0"), row(), row(State="RUNNING", NodeList="hv2")],
    ids=["its owner's", "waits", "runs elsewhere"],
)
def test_a_job_that_is_not_held_by_the_hook_gets_that_back_and_no_more(tmp_path: Path, job: str) -> None:
    left(tmp_path, "7", word="Requeue=0\n")
    played = Played(squeue=job)
    assert slurm(played, adopt_dir=str(tmp_path)).adopt(()) == ()
    assert played.said()[-1] == "scontrol update JobId=7 Requeue=0"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING", "CONFIGURING"])
def test_word_of_a_job_that_is_about_to_leave_is_kept(tmp_path: Path, state: str) -> None:
    left(tmp_path, "7", word="Requeue=0\n")
    played = Played(squeue=row(State=state, NodeList="hv1"))
    assert slurm(played, adopt_dir=str(tmp_path)).adopt(()) == ()
    assert os.listdir(tmp_path) == ["7"]
    assert not any("update" in said for said in played.said())


@pytest.mark.parametrize(
    ("reason", "opened"), [("Prolog error", True), ("Prolog error?", False), ("wnodes: x", False), ("disk", False)]
)
def test_a_node_that_slurm_drained_for_a_job_the_hook_could_not_put_back_is_opened(
    tmp_path: Path, reason: str, opened: bool
) -> None:
    left(tmp_path, "7", word="Requeue=0\nFailed=1\n")
    node = NODE.replace("wnodes: hypervisor: libvirt does not answer", reason)
    played = Played(squeue=row(prioritylong="0"), scontrol_show_=node)
    assert slurm(played, adopt_dir=str(tmp_path)).adopt(()) == ()
    assert ("scontrol update NodeName=hv1 State=RESUME" in played.said()) is opened
    assert os.listdir(tmp_path) == ["7"]


def test_a_drain_without_word_of_the_hook_s_is_not_ours(tmp_path: Path) -> None:
    left(tmp_path, "7", word="Requeue=0\n")
    played = Played(squeue=row(prioritylong="0"), scontrol_show_="NodeName=hv1 State=IDLE+DRAIN Reason=Prolog error")
    slurm(played, adopt_dir=str(tmp_path)).adopt(())
    assert not any("NodeName" in said for said in played.said())


def test_a_job_that_could_not_be_put_back_is_freed_in_the_end(tmp_path: Path) -> None:
    left(tmp_path, "7", 126, "Requeue=0\nFailed=1\n")
    played = Played(squeue=row(prioritylong="0", requeue="1"), scontrol_show_="NodeName=hv1 State=IDLE")
    assert slurm(played, adopt_dir=str(tmp_path)).adopt(()) == ("7",)
    assert played.said()[-2:] == ["scontrol update JobId=7 Requeue=0 StartTime=now", "scontrol release 7"]
    assert os.listdir(tmp_path) == []


def test_one_job_that_can_not_be_freed_keeps_no_other_one(tmp_path: Path) -> None:
    left(tmp_path, "7", 10)
    left(tmp_path, "8", 5)
    jobs = row(prioritylong="0") + row(JobArrayID="8", JobID="8", prioritylong="0")
    played = Particular("JobId=7", "error: Access/permission denied", squeue=jobs)
    assert slurm(played, adopt_dir=str(tmp_path)).adopt(()) == ("8",)
    assert os.listdir(tmp_path) == ["7"]


@pytest.mark.parametrize("settings", [{"node": "$(id)"}, {"node": "hv1", "timeout_s": 0}])
def test_a_wrong_configuration_says_which_key(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as raised:
        SlurmConfig(**settings)  # type: ignore[arg-type]
    assert raised.value.object.startswith("slurm.")


def wish(default: str, **environment: str) -> Wish | None:
    asked = {"SLURM_JOB_USER": "alice", "SLURM_JOB_PARTITION": "main", **environment}
    lrms = slurm(Played())
    return lrms.wish(Dispatch("prolog", "7", asked), lambda user, partition: f"{user}_{partition}_{default}")


def test_a_job_that_names_no_image_has_the_default_one_with_its_own_options() -> None:
    assert wish("x", SLURM_JOB_COMMENT="wnodes:scratch=2G") == Wish("alice_main_x", {"scratch": "2G"})
    assert wish("x", SLURM_JOB_CONSTRAINTS="vm_a_b_c") == Wish("a_b_c")
    with pytest.raises(RequestError, match="is not key=value"):
        wish("x", SLURM_JOB_COMMENT="wnodes:scratch")


def test_a_real_job_s_comment_is_its_own_business() -> None:
    asked = {"SLURM_JOB_COMMENT": "wnodes:scratch"}
    assert slurm(Played()).wish(Dispatch("prolog", "7", asked)) is None


@pytest.mark.parametrize("partition", ["wnhold", "wnoffer"])
def test_our_own_jobs_wish_nothing_whatever_the_default(partition: str) -> None:
    assert wish("x", SLURM_JOB_PARTITION=partition) is None


def test_what_an_expert_would_ask_slurm_is_about_this_node_and_changes_nothing() -> None:
    asked = slurm(Played()).inquiries()
    assert asked["slurm-node"] == ("scontrol", "show", "node", "hv1")
    assert {argv[0] for argv in asked.values()} == {"scontrol", "sinfo", "squeue"}
    assert {argv[1] for argv in asked.values() if argv[0] == "scontrol"} == {"show", "--version"}


def test_the_tags_that_are_offered_are_the_node_s_features_of_ours() -> None:
    shown = NODE.replace("AvailableFeatures=", "AvailableFeatures=vm_x_y_z,")
    assert "x_y_z" in slurm(Played(scontrol_show=shown)).advertised()
    assert "bait" not in slurm(Played(scontrol_show=shown)).advertised()


def test_what_runs_on_the_node_is_read_from_slurmds_own_folder(tmp_path: Path) -> None:
    for name in (
        "hv1_88.4294967291",
        "hv1_89.0",
        "hv1_90.4294967292.0",
        "hv2_7.0",
        "cred_state",
        "hv1_x.0",
        "job00088",
    ):
        (tmp_path / name).touch()
    played = Played(scontrol_show_config=f"SlurmdSpoolDir          = {tmp_path}\n")
    backend = slurm(played)
    assert sorted(backend.present().values()) == ["88", "89", "90"]
    first = set(backend.present())
    (tmp_path / "hv1_88.4294967291").unlink()
    (tmp_path / "hv1_88.4294967291").touch()
    assert len(first - set(backend.present())) == 1, "the same job's next run is another run"
    assert len(played.calls) == 1
    assert slurm(Played(scontrol_show_config="SlurmdSpoolDir = /nonexistent\n")).present() == {}


@pytest.mark.parametrize(
    ("config", "seconds"),
    [("AuthInfo                = (null)\n", 125.0), ("AuthInfo = socket=/x,cred_expire=60\n", 65.0)],
)
def test_a_job_stays_away_as_long_as_slurmds_remember_it(config: str, seconds: float) -> None:
    assert slurm(Played(scontrol_show_config=config)).quarantine_s() == seconds


def task(number: int, mark: str = "", **values: str) -> str:
    return row(JobArrayID=f"70_{number}", JobID=str(70 + number), admin_comment=mark, **values)


UNDER_WAY, WAITS = "wnodes:a:hv1:1?Requeue=1", "wnodes:a:hv1:1?waits=1&Requeue=1"


@pytest.mark.parametrize(
    ("others", "limited"),
    [
        ([], False),
        ([task(3, UNDER_WAY, State="RUNNING", NodeList="vwn-1", Partition="wnvm")], True),
        ([task(3, UNDER_WAY, Partition="wnvm", Reason="Licenses")], True),
        ([task(3, UNDER_WAY, prioritylong="0", Reason="JobHeldAdmin")], True),
        ([task(1, WAITS, prioritylong="0", Reason="JobHeldAdmin")], True),
        ([task(3, WAITS, prioritylong="0", Reason="JobHeldAdmin")], False),
        ([task(1, State="RUNNING", NodeList="hv2")], True),
        ([task(3, State="RUNNING", NodeList="hv2")], False),
        ([task(1, "wnodes:a:hv1:1 refused", prioritylong="0", Reason="JobHeldAdmin")], False),
        ([task(1, prioritylong="0", Reason="JobHeldUser")], False),
        ([task(1)], False),
        ([task(1, State="COMPLETED", NodeList="vwn-1")], False),
    ],
    ids=[
        "alone",
        "runs",
        "is tied to its VM",
        "its VM is made",
        "waits and comes first",
        "waits and comes later",
        "is stopped at the same time and comes first",
        "is stopped at the same time and comes later",
        "refused",
        "held by its owner",
        "in the queue",
        "is over",
    ],
)
def test_a_task_over_the_limit_of_its_array_is_known_before_it_gets_a_vm(others: list[str], limited: bool) -> None:
    mine = task(2, UNDER_WAY, State="RUNNING", NodeList="hv1")
    played = Played(squeue="".join([mine, *others]), scontrol_show="JobId=72 ArrayTaskThrottle=1\n")
    backend = slurm(played)
    job = backend.jobs(["70"])["70_2"]
    assert (backend.limit(job) != "") is limited


def test_an_array_without_a_limit_is_not_asked_about_further() -> None:
    played = Played(squeue=task(2), scontrol_show="JobId=72 JobName=x\n")
    backend = slurm(played)
    job = backend.jobs(["70"])["70_2"]
    assert (backend.limit(job), len(played.calls)) == ("", 2)
    assert (slurm(Played()).limit(JOB), len(Played().calls)) == ("", 0)


def test_the_task_of_a_job_sees_what_it_would_have_seen_on_its_node() -> None:
    job = replace(JOB, partition="long", fixed={**ORIGINAL, "ReservationName": "course"})
    (file,) = slurm(Played()).environment(job, 2)
    assert file.content == (
        "export SLURM_RESTART_COUNT=2\nexport SLURM_JOB_PARTITION=long\nexport SLURM_JOB_RESERVATION=course\n"
    )
    (file,) = slurm(Played()).environment(replace(job, fixed=ORIGINAL), 0)
    assert "unset SLURM_RESTART_COUNT" in file.content and "unset SLURM_JOB_RESERVATION" in file.content


def test_features_that_others_have_not_activated_stay_so() -> None:
    shown = "NodeName=hv1 AvailableFeatures=bait,knl,vm_old ActiveFeatures=bait,vm_old State=IDLE\n"
    played = Played(scontrol_show=shown)
    slurm(played).advertise(("new",), "")
    assert (
        played.said()[1] == "scontrol update NodeName=hv1 AvailableFeatures=bait,knl,vm_new ActiveFeatures=bait,vm_new"
    )
