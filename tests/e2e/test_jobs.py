# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs on their VMs: what they get, what the node's books say, and how they end."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e import lab
from wnodes.model.resources import Overheads, Resources

LIKE_ON_A_NODE = """#!/bin/bash
trap 'echo got_signal=USR1; exit 7' USR1
echo host=$(hostname) user=$(id -un) group=$(id -gn) home=$HOME cwd=$(pwd) colour=$COLOUR umask=$(umask)
echo started=yes > "started.$SLURM_JOB_ID"
for i in $(seq 3000); do sleep 0.2; done
"""


def test_two_jobs_at_once_get_a_vm_each_with_signals_environment_and_time_limit_as_on_a_node() -> None:
    before = {node: lab.allocated_mib(node) for node in lab.NODES}
    options = ("-C", lab.FEATURE, "-w", "hv1", "--export=ALL,COLOUR=blue")
    signalled = lab.submit(LIKE_ON_A_NODE, *options)
    limited = lab.submit("#!/bin/sh\nsleep 600\n", *options, "--time=1", "--mem=300", user="bob")
    first = lab.in_state(signalled, "RUNNING")
    second = lab.in_state(limited, "RUNNING")
    assert first["host"] != second["host"]
    charges = sum(Overheads().charge(Resources(1, memory_mib)).memory_mib for memory_mib in (512, 300))
    both = before["hv1"] + charges
    lab.until("both to be on the books", lambda: lab.allocated_mib("hv1") == both, lab.CLEAN_S)
    lab.until(
        "the job to run", lambda: "started=yes" in lab.sh("head", f"cat /home/alice/started.{signalled}; true"), 60
    )
    lab.as_user("alice", "scancel", "-b", "-s", "USR1", signalled)
    assert lab.over(signalled)["exit_code"] == 7
    seen = lab.facts(signalled)
    assert seen["host"] == first["host"]
    assert (seen["user"], seen["group"], seen["home"], seen["cwd"]) == ("alice", "alice", "/home/alice", "/home/alice")
    assert (seen["colour"], seen["got_signal"]) == ("blue", "USR1")
    lab.over(limited)
    assert lab.native(limited, "State") == "TIMEOUT"
    lab.until("the books to be as before", lambda: {node: lab.allocated_mib(node) for node in lab.NODES} == before, 60)


@pytest.fixture
def no_files() -> Iterator[None]:
    """Files of tests in alice's home are hers to find neither before nor after."""
    tidy = (
        "rm -rf /home/alice/shared.txt /home/alice/by.* /home/alice/e2e* /home/alice/canary /home/alice/ran-cancelled"
    )
    lab.sh("head", tidy)
    yield
    lab.sh("head", tidy)


@pytest.mark.every_release
def test_an_unmodified_job_sees_the_same_account_and_files_as_on_the_node(no_files: None) -> None:
    script = "#!/bin/sh\nid; pwd; umask; echo $HOME; cat shared.txt; echo also > by.$1\n"
    lab.sh("head", "echo 'written at home' > /home/alice/shared.txt; chown alice: /home/alice/shared.txt")
    real = lab.submit(script)
    lab.until("the real job to end", lambda: lab.native(real, "State") == "COMPLETED", 60)
    virtual = lab.submit(script, "-C", lab.FEATURE)
    lab.over(virtual)
    assert lab.output(virtual) == lab.output(real)


@pytest.mark.every_release
def test_the_tasks_of_an_array_get_a_vm_each_and_keep_their_numbers_and_exit_codes() -> None:
    script = "#!/bin/sh\necho task=$SLURM_ARRAY_TASK_ID host=$(hostname)\nexit $SLURM_ARRAY_TASK_ID\n"
    array = lab.submit(script, "--array=1-2", "-C", lab.FEATURE, "--output=/home/alice/slurm-%A_%a.out")
    tasks = [f"{array}_{number}" for number in (1, 2)]
    done = [lab.over(task) for task in tasks]
    assert [job["exit_code"] for job in done] == [1, 2]
    assert [lab.facts(task) for task in tasks] == [
        {"task": task[-1], "host": job["host"]} for task, job in zip(tasks, done, strict=True)
    ]
    assert done[0]["host"] != done[1]["host"]
    lab.until("the nodes to be idle", lambda: all(lab.node_state(node) == "idle" for node in lab.NODES), lab.CLEAN_S)


def test_an_image_that_nobody_serves_is_refused_at_submit() -> None:
    with pytest.raises(lab.Failed, match=r"[Ii]nvalid feature"):
        lab.submit("#!/bin/sh\n", "-C", "vm_nosuch_debian12_x86_64")


@pytest.mark.every_release
def test_a_request_no_node_can_ever_meet_is_held_and_says_what_would_fit() -> None:
    number = lab.submit("#!/bin/sh\n", "-C", lab.FEATURE, "--mem=5900")
    job = lab.over(number, 60)
    assert job["outcome"] == "REFUSED"
    assert lab.native(number, "State") == "PENDING"
    assert f"ask for at most {Overheads().largest(6000)} MiB" in lab.native(number, "admin_comment")
    told = lab.as_user("alice", "wnodes", "explain", number)
    assert f"ask for at most {Overheads().largest(6000)} MiB" in told
    assert "ask for" not in lab.as_user("bob", "wnodes", "explain", number, check=False)


def test_a_job_that_was_cancelled_while_its_vm_boots_leaves_nothing(no_files: None) -> None:
    number = lab.submit("#!/bin/sh\ntouch /home/alice/ran-cancelled\n", "-C", lab.FEATURE)
    lab.in_state(number, "VM_REQUESTED")
    lab.as_user("alice", "scancel", number)
    assert lab.over(number)["outcome"] == "CANCELLED"
    lab.until("nothing to be left", lambda: lab.left() == "", lab.CLEAN_S)
    assert "ran-cancelled" not in lab.ssh("head", "ls", "/home/alice")


def test_a_user_who_clears_the_pin_while_held_gains_nothing() -> None:
    number = lab.submit("#!/bin/sh\nhostname\n", "-C", lab.FEATURE)
    lab.in_state(number, "VM_REQUESTED")
    for change in ("Partition=main", "ReqNodeList=hv2", "ReservationName=", "StartTime=now", "TimeLimit=5"):
        lab.as_user("alice", "scontrol", "update", f"JobId={number}", change, check=False)
    lab.as_user("alice", "scontrol", "release", number, check=False)
    job = lab.over(number)
    assert lab.output(number).strip() == job["host"]
    assert job["outcome"] == "FINISHED"


def test_a_user_who_withdraws_the_wish_for_a_vm_while_held_runs_as_a_real_job() -> None:
    number = lab.submit("#!/bin/sh\nhostname\n", "-C", lab.FEATURE)
    lab.in_state(number, "VM_REQUESTED")
    lab.as_user("alice", "scontrol", "update", f"JobId={number}", "Features=bait")
    assert lab.over(number)["outcome"] == "RETURNED"
    # Slurm keeps it off its node for a while, and looks at jobs that wait once a minute
    lab.until("the job to end", lambda: lab.native(number, "State") == "COMPLETED", 200)
    assert lab.output(number).strip() in lab.NODES


def test_hostile_names_comments_and_paths_touch_nothing(no_files: None) -> None:
    canary = "/home/alice/canary"
    evil = f"$(touch {canary})`touch {canary}`;touch {canary}\nJobId=1 AdminComment=wnodes:x:y:1 Requeue=0\n'\"|\x1f&"
    work = f"/home/alice/e2e $(touch {canary.replace('/', '_')})"
    lab.ssh("head", "runuser", "-u", "alice", "--", "mkdir", "-p", work)
    lab.ssh("head", "runuser", "-u", "alice", "--", "ln", "-sfn", "/etc", "/home/alice/e2e-link")
    options = (
        f"--job-name={evil}",
        f"--comment={evil}",
        f"--chdir={work}",
        "--output=/home/alice/slurm-%j.out",
        "--error=e2e-link/passwd",
        "--export=ALL,LD_PRELOAD=/home/alice/evil.so,PATH=/home/alice,SPANK_X=1,PYTHONPATH=/home/alice",
    )
    plain = lab.submit("#!/bin/sh\n/bin/hostname\n", "-C", lab.FEATURE, *options[:4])
    bare = lab.submit("#!/bin/sh\n/bin/hostname\n", *options)
    job = lab.over(plain)
    assert lab.output(plain).strip() == job["host"]
    lab.until("the real job to end", lambda: lab.native(bare, "State") in ("COMPLETED", "FAILED", "CANCELLED"), 90)
    for node in ("head", *lab.NODES):
        there = lab.sh(node, "ls -A / /root /tmp /home/alice /home/alice/e2e* /var/tmp /run; true").splitlines()
        assert not {"canary", "_home_alice_canary"} & set(there)
    assert all(lab.node_state(node) in ("idle", "mixed") for node in lab.NODES)


def test_what_a_user_may_see_is_their_own() -> None:
    mine = json.loads(lab.as_user("bob", "wnodes", "jobs", "--all", "--json"))
    assert all(job["user"] == "bob" for job in mine)
