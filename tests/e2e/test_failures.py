# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts that fail: no job is lost, none runs on the bare node, and everything recovers by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e import lab

JOB = "#!/bin/sh\nhostname\nsleep 2\nexit 5\n"


@pytest.fixture
def broken_image() -> Iterator[str]:
    """A tag whose image has no root device: its guests never come up."""
    tag = "broken_debian12_x86_64"
    folder = "/shared/images/e2e-broken"
    manifest = json.loads(lab.ssh("head", "cat", f"/shared/images/{lab.TAG}/manifest.json"))
    source = lab.ssh("head", "readlink", "-f", f"/shared/images/{lab.TAG}").strip()
    changed = {**manifest, "tags": [tag], "cmdline": manifest["cmdline"].replace("/dev/vda", "/dev/nosuch")}
    offered = f"vm_{tag}"
    try:
        lab.sh("head", f"mkdir -p {folder}; ln -sf {source}/disk.qcow2 {source}/vmlinuz {source}/initrd {folder}/")
        lab.ssh("head", "tee", f"{folder}/manifest.json", stdin=json.dumps(changed))
        lab.sign("e2e-broken", tag)
        lab.ssh("head", "wnodes", "images", "publish", folder)
        lab.until("a node to offer the image", lambda: offered in lab.ssh("head", "sinfo", "-h", "-o", "%f"), 30)
        yield tag
    finally:
        lab.ssh("head", "wnodes", "images", "retire", tag, check=False)
        lab.ssh("head", "rm", "-rf", folder, f"/shared/images/{tag}")


def test_a_vm_that_never_boots_returns_the_job_with_backoff_and_says_why(broken_image: str) -> None:
    number = lab.submit(JOB, "-C", f"vm_{broken_image}")
    job = lab.over(number, 240)
    assert job["outcome"] == "RETURNED"
    assert job["retry_after_s"] > 0
    assert lab.native(number, "State") == "PENDING"
    assert lab.native(number, "admin_comment").split("?")[0].endswith(":2")
    assert lab.native(number, "Partition") == "main"
    told = lab.as_user("alice", "wnodes", "explain", number)
    assert "reason" in told
    assert job["reason"]
    lab.as_user("alice", "scancel", number)


@pytest.mark.parametrize("service", ["bait", "hypervisor"])
def test_a_service_killed_in_mid_flight_loses_nothing(service: str) -> None:
    number = lab.submit(JOB, "-C", lab.FEATURE, "-w", "hv1")
    lab.in_state(number, "VM_REQUESTED")
    lab.ssh("hv1", "systemctl", "kill", "-s", "KILL", f"wnodes-{service}")
    job = lab.in_state(number, "RUNNING", "FINISHED", "CLOSED")
    lab.ssh("hv1", "systemctl", "kill", "-s", "KILL", f"wnodes-{service}")
    job = lab.over(number)
    assert (job["outcome"], job["exit_code"]) == ("FINISHED", 5)
    assert lab.output(number).strip() == job["host"]


@pytest.mark.every_release
def test_a_job_that_comes_while_no_bait_answers_is_kept_and_runs_when_the_bait_is_back() -> None:
    with lab.stopped("hv1", "wnodes-bait.service", "wnodes-hook.socket"):
        number = lab.submit(JOB, "-C", lab.FEATURE, "-w", "hv1")
        lab.until("the node to be closed", lambda: "drain" in lab.node_state("hv1"), 60)
        assert lab.native(number, "State") == "PENDING"
        assert number not in lab.sh("head", "ls /home/alice").replace(".", " ").replace("-", " ").split()
        status = lab.until(
            "status to say that the bait is down", lambda: _says(lab.ssh("head", "wnodes", "status", check=False)), 60
        )
        assert "hv1" in status
    job = lab.over(number)
    assert (job["outcome"], job["exit_code"]) == ("FINISHED", 5)
    assert lab.output(number).strip() == job["host"]
    lab.until("the node to be open", lambda: lab.node_state("hv1") in ("idle", "mixed"), 60)


def _says(status: str) -> str:
    return status if "DOWN" in status else ""


def test_a_node_without_its_hypervisor_closes_says_so_and_reopens_by_itself() -> None:
    with lab.stopped("hv2", "wnodes-hypervisor"):
        lab.until("the node to be closed", lambda: "drain" in lab.node_state("hv2"), 60)
        assert "hypervisor" in lab.ssh("head", "wnodes", "status", check=False)
        number = lab.submit("#!/bin/sh\nhostname\n")
        lab.until("a real job elsewhere", lambda: lab.native(number, "State") == "COMPLETED", 60)
    lab.until("the node to be open", lambda: lab.node_state("hv2") in ("idle", "mixed"), 60)


def test_a_node_without_libvirt_closes_says_so_and_reopens_by_itself() -> None:
    units = ("libvirtd.service", "libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket")
    with lab.stopped("hv2", *units, start=("libvirtd.socket", "libvirtd-ro.socket", "libvirtd.service")):
        lab.until("the node to be closed", lambda: "drain" in lab.node_state("hv2"), 60)
        assert "libvirt" in lab.ssh("head", "wnodes", "status", check=False)
    lab.until("the node to be open", lambda: lab.node_state("hv2") in ("idle", "mixed"), 90)


def test_without_the_nameserver_running_jobs_go_on_and_it_is_said() -> None:
    lab.ssh("head", "rm", "-f", lab.GO)
    number = lab.submit(lab.UNTIL_TOLD + "hostname\n", "-C", lab.FEATURE)
    job = lab.in_state(number, "RUNNING")
    with lab.stopped("head", "wnodes-nameserver"):
        lab.ssh("head", "touch", lab.GO)
        lab.until("the job to end", lambda: lab.native(number, "State") == "COMPLETED", 90)
        # a heartbeat may be on its way when the nameserver goes
        lab.until(
            "the node to say so", lambda: "nameserver" in lab.ssh("hv1", "wnodes", "status", check=False), lab.CLEAN_S
        )
    assert lab.output(number).strip() == job["host"]
