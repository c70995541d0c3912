# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm's texts, with what Slurm 22.05.8 and 24.11.5 printed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wnodes.lrms.base import HostState, LrmsJobState
from wnodes.lrms.slurm_text import (
    COLUMNS,
    END,
    fields,
    host_state,
    job_name,
    jobs,
    mib,
    minutes,
    node_reason,
    nodes,
    room,
)
from wnodes.model.errors import LrmsError
from wnodes.model.job import Hold
from wnodes.model.resources import Resources

NODE = (
    "NodeName=hv1 Arch=x86_64 CPUEfctv=4 AvailableFeatures=bait,vm_a_b_c ActiveFeatures=bait Gres=(null) "
    "OS=Linux 6.18.44 #1 SMP PREEMPT_DYNAMIC @0  RealMemory=6000 State=IDLE+DRAIN Partitions=main,wnhold  "
    "Reason=wnodes: hypervisor: libvirt does not answer [root@2026-11-21T03:10:05]"
)


def row(**values: str) -> str:
    seen = {
        "JobArrayID": "7",
        "JobID": "7",
        "State": "PENDING",
        "prioritylong": "4294901757",
        "UserName": "alice",
        "UserID": "2001",
        "NumCPUs": "1",
        "NumNodes": "1",
        "tres-alloc": "cpu=1,mem=512M,node=1,billing=1",
        "MinTmpDisk": "0",
        "exit_code": "0",
        "NodeList": "",
        "Partition": "main",
        "TimeLimit": "1:00:00",
        "Feature": "(null)",
        "ReqNodes": "",
        "eligibletime": "1795275755",
        "Reservation": "(null)",
        "requeue": "1",
        "batchflag": "1",
        "admin_comment": "(null)",
        "Reason": "None",
        "RestartCnt": "0",
        "MinMemory": "512M",
        "Nice": "0",
        "HetJobID": "N/A",
        "tres-per-job": "N/A",
        "tres-per-node": "N/A",
        "tres-per-socket": "N/A",
        "tres-per-task": "N/A",
        "Licenses": "(null)",
        "Account": "(null)",
        "QOS": "(null)",
        **values,
    }
    return "".join(seen[name].ljust(min(width, 20)) + END for name, width in COLUMNS) + "\n"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("JobId=7 JobName=wrap UserId=alice(2001) GroupId=alice(2001)", "wrap"),
        ("JobId=8 ArrayJobId=7 ArrayTaskId=1 JobName=a b UserId=alice(2001)", "a b"),
        ("JobId=7 JobName=two\nlines UserId=alice(2001)", "two\nlines"),
        ("JobId=7 JobName=x JobName=y UserId=alice(2001)", "x JobName=y"),
        ("JobId=7 JobName=(null) UserId=alice(2001)", ""),
        ("", ""),
    ],
)
def test_a_jobs_name_is_read_whatever_it_holds(line: str, name: str) -> None:
    assert job_name(line) == name


def test_a_pending_job_is_read() -> None:
    (job,) = jobs(row(Feature="vm_a_b_c", MinTmpDisk="2G", NumCPUs="2")).values()
    assert (job.id, job.state, job.user, job.uid) == ("7", LrmsJobState.PENDING, "alice", 2001)
    assert job.resources == Resources(1, 512, 2048)
    assert job.fixed["Features"] == "vm_a_b_c"
    assert job.fixed["ReqNodeList"] == ""
    assert (job.mark, job.exit_code) == ("", None)


@pytest.mark.parametrize(
    ("state", "priority", "ours"),
    [
        ("PENDING", "0", LrmsJobState.HELD),
        ("PENDING", "1", LrmsJobState.PENDING),
        ("CONFIGURING", "1", LrmsJobState.RUNNING),
        ("COMPLETING", "0", LrmsJobState.COMPLETING),
        ("TIMEOUT", "1", LrmsJobState.ENDED),
        ("CANCELLED", "1", LrmsJobState.CANCELLED),
    ],
)
def test_native_states_are_ours(state: str, priority: str, ours: LrmsJobState) -> None:
    assert jobs(row(State=state, prioritylong=priority))["7"].state is ours


#: of Slurm 24.11.5: the second task of an array, which ended with 2 on its VM
TASK = (
    *("35_2", "35", "FAILED", "1", "alice", "2001", "1", "1", "cpu=1,mem=512M,node=1,billing=1", "0", "2:0", "vwn-116"),
    *("wnvm", "1:00:00", "vm_worker_debian13_x86_64", "vwn-116", "1795291125", "wn_vwn-116", "1", "1"),
    *("wnodes:5f2169ddb090:hv1:1", "None", "1", "512M", "0", "N/A", "N/A", "N/A", "N/A", "N/A", "(null)", "(null)"),
    "(null)",
)
#: of Slurm 24.11.5: a VM that runs a job
HOST = (
    "NodeName=vwn-113 Arch=x86_64 CoresPerSocket=1  CPUAlloc=1 CPUEfctv=1 CPUTot=1 CPULoad=0.71 "
    "AvailableFeatures=wnvm,vm_worker_debian13_x86_64 ActiveFeatures=wnvm,vm_worker_debian13_x86_64 Gres=(null) "
    "NodeAddr=10.77.13.113 NodeHostName=vwn-113 Version=24.11.5 OS=Linux 6.12.117+deb13-cloud-amd64 #1 SMP "
    "PREEMPT_DYNAMIC Debian 6.12.117-1 (2026-11-12)  RealMemory=512 AllocMem=512 FreeMem=537 Sockets=1 Boards=1 "
    "State=ALLOCATED+DYNAMIC_NORM+RESERVED ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A Partitions=wnvm "
    " BootTime=1795291002 SlurmdStartTime=1795291083 LastBusyTime=1795291083 ResumeAfterTime=None "
    "CfgTRES=cpu=1,mem=512M,billing=1 AllocTRES=cpu=1,mem=512M CurrentWatts=0 AveWatts=0  ReservationName=wn_vwn-113"
)


def test_a_task_of_an_array_as_slurm_24_11_prints_it() -> None:
    printed = "".join(value.ljust(width) + END for value, (_name, width) in zip(TASK, COLUMNS)) + "\n"
    job = jobs(printed)["35_2"]
    assert (job.number, job.state, job.exit_code, job.host) == ("35", LrmsJobState.ENDED, 2, "vwn-116")
    assert (job.resources, job.eligible, job.mark) == (Resources(1, 512), 1795291125.0, "wnodes:5f2169ddb090:hv1:1")
    assert job.fixed["ReservationName"] == "wn_vwn-116"


def test_a_host_as_slurm_24_11_prints_it() -> None:
    found = room(HOST, ours=False)
    assert (found.total, found.free, found.open) == (Resources(1, 512), Resources(0, 0), True)
    assert host_state(fields(HOST)["State"]) is HostState.BUSY
    assert host_state("IDLE+DYNAMIC_NORM+RESERVED") is HostState.READY


@pytest.mark.parametrize(("text", "code"), [("768", 3), ("9", 137), ("0", 0), ("3:0", 3), ("0:9", 137), ("0:0", 0)])
def test_exit_codes_are_those_a_shell_shows(text: str, code: int) -> None:
    assert jobs(row(State="FAILED", exit_code=text))["7"].exit_code == code


def test_an_unknown_state_is_an_error_not_a_guess() -> None:
    with pytest.raises(LrmsError):
        jobs(row(State="DREAMING"))


@given(st.text(alphabet=st.characters(blacklist_characters=END), max_size=60))
def test_no_text_in_a_column_becomes_another_job(text: str) -> None:
    try:
        found = jobs(row(Feature=text))
    except LrmsError:
        return
    assert set(found) <= {"7"}


@pytest.mark.parametrize(("text", "size"), [("512M", 512), ("1.50G", 1536), ("6000", 6000), ("100K", 1), ("0", 0)])
def test_sizes_are_mib(text: str, size: int) -> None:
    assert mib(text) == size


def test_a_node_is_read() -> None:
    found = fields(NODE)
    assert (found["AvailableFeatures"], found["State"], found["RealMemory"]) == ("bait,vm_a_b_c", "IDLE+DRAIN", "6000")
    assert node_reason(NODE) == "wnodes: hypervisor: libvirt does not answer"


@pytest.mark.parametrize(
    ("native", "ours"),
    [
        ("IDLE+DRAIN+DYNAMIC_NORM", HostState.CLOSED),
        ("IDLE+DYNAMIC_NORM+RESERVED", HostState.READY),
        ("IDLE+DYNAMIC_NORM+NOT_RESPONDING", HostState.JOINING),
        ("MIXED+DYNAMIC_NORM", HostState.BUSY),
        ("IDLE+COMPLETING", HostState.BUSY),
        ("DOWN*+DYNAMIC_NORM", HostState.DOWN),
        ("UNKNOWN+DYNAMIC_NORM", HostState.JOINING),
    ],
)
def test_node_states_are_ours(native: str, ours: HostState) -> None:
    assert host_state(native) is ours


def test_nodes_are_read() -> None:
    printed = f"hv1 {END}6000 {END}bait,vm_a {END}\nhv2 {END}8000 {END}(null) {END}\n"
    assert nodes(printed) == {"hv1": (6000, ("bait", "vm_a")), "hv2": (8000, ())}


def test_a_job_has_its_partition_and_the_image_that_it_names() -> None:
    (job,) = jobs(row(Partition="long", Feature="bait&vm_a_b_c")).values()
    assert (job.partition, job.tag) == ("long", "a_b_c")
    assert jobs(row(Feature="bait"))["7"].tag == ""


def test_a_part_of_a_larger_job_is_known_by_its_own_number_and_by_the_whole() -> None:
    (job,) = jobs(row(JobArrayID="81+1", JobID="82", HetJobID="81")).values()
    assert (job.id, job.whole) == ("82", "81")
    assert "one node" in job.unsupported
    assert jobs(row(HetJobID="0"))["7"].whole == ""


@pytest.mark.parametrize("column", ["tres-per-job", "tres-per-node", "tres-per-socket", "tres-per-task"])
def test_what_no_vm_has_is_told_in_words(column: str) -> None:
    assert "gres:gpu:1" in jobs(row(**{column: "gres:gpu:1"}))["7"].unsupported
    assert "gres/gpu:1" in jobs(row(**{column: "cpu=2,gres/gpu:1"}))["7"].unsupported
    for nothing in ("gres:none", "gres/none", "cpu=2"):
        assert jobs(row(**{column: nothing}))["7"].unsupported == ""


@pytest.mark.parametrize(
    ("reason", "limited", "impossible"),
    [
        ("Licenses", True, False),
        ("JobArrayTaskLimit", True, False),
        ("QOSMaxJobsPerUserLimit", True, False),
        ("AssocGrpCpuLimit", True, False),
        ("BadConstraints", False, True),
        ("Resources", False, False),
        ("ReqNodeNotAvail", False, False),
    ],
)
def test_what_a_job_waits_for_is_a_limit_or_the_vms_business(reason: str, limited: bool, impossible: bool) -> None:
    job = jobs(row(Reason=reason))["7"]
    assert (job.limited, job.impossible) == (limited, impossible)


def test_who_holds_a_job_is_known() -> None:
    assert jobs(row(prioritylong="0", Reason="JobHeldUser"))["7"].hold is Hold.OWNER
    assert jobs(row(prioritylong="0", Reason="job_requeued_in_held_state"))["7"].hold is Hold.OWNER
    assert jobs(row(prioritylong="0", Reason="JobHeldAdmin"))["7"].hold is Hold.ADMINISTRATOR
    assert jobs(row(Reason="Resources"))["7"].hold is Hold.NOBODY


@pytest.mark.parametrize(
    ("limit", "found"), [("1-02:00:00", 1560), ("1:00:00", 60), ("5:30", 6), ("UNLIMITED", None), ("INVALID", None)]
)
def test_time_limits_are_minutes_rounded_up(limit: str, found: int | None) -> None:
    assert minutes(limit) == found
