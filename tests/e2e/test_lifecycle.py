# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A site that lives: rehearsed changes, an upgrade under running jobs, a node that goes and comes, a head node anew.

In this order: each test begins where the one before it has ended, and the last one leaves the site as it was.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import lab
from tests.e2e.lab import REPO

POOL = {"flavours": [{"tag": lab.TAG, "cpus": 1, "memory_mib": 512, "waiting": 1}]}
#: all that is ours on a machine: files, units, users, domains, devices
OURS = """
find /etc /usr /opt /var /run -xdev \\( -name '*wnodes*' -o -path '*/wnodes/*' \\) -prune 2> /dev/null |
    grep -vE 'systemd-private|^/run/systemd'
systemctl list-units --all --plain --no-legend 'wnodes*'
systemctl list-unit-files --no-legend 'wnodes*'
getent passwd wnodes-image
virsh -q list --all --name | grep . | sed 's/^/domain /'
ip -br link show type bridge | grep '^br\\.'
true
"""


def play(name: str, *options: str, collections: Path = lab.COLLECTIONS, fails: bool = False, **variables: Any) -> str:
    """Run a playbook of the collection and return what it said."""
    path = collections / f"ansible_collections/wnodes/farm/playbooks/{name}.yml"
    arguments = (str(path), "-e", json.dumps(variables), *options)
    done = lab.ansible("ansible-playbook", *arguments, collections=collections)
    assert (done.returncode != 0) is fails, done.stdout
    return done.stdout


def changes(said: str) -> dict[str, int]:
    """Return how many tasks have changed something, by host."""
    return {host: int(count) for host, count in re.findall(r"^(\w+) +: ok=\d+ +changed=(\d+)", said, re.MULTILINE)}


def changed(said: str) -> list[str]:
    """Return the tasks that have changed something, or would."""
    tasks = re.split(r"^(?:TASK|RUNNING HANDLER) \[", said, flags=re.MULTILINE)[1:]
    return [task.partition("]")[0].rpartition(" : ")[2] for task in tasks if re.search(r"^changed: ", task, re.M)]


def services(*nodes: str) -> dict[str, str]:
    """Return since when each of our services runs."""
    show = "systemctl show --value -p Id,ExecMainStartTimestampMonotonic 'wnodes-*.service'"
    return {node: lab.sh(node, show) for node in nodes}


def health(node: str, service: str) -> dict[str, Any]:
    script = f"curl -fs --unix-socket /run/wnodes/{service}.sock http://local/healthz"
    return dict(json.loads(lab.sh(node, script)))


def pool() -> dict[str, Any]:
    """Return how VMs that wait stand on hv1."""
    told = json.loads(lab.sh("hv1", "curl -s --unix-socket /run/wnodes/bait.sock http://bait/v1/status"))
    return next(iter(told["pool"]), {})


def a_vm_waits() -> None:
    """Let one VM wait on hv1, as the tests before have left it."""
    if not pool().get("target"):
        play("site", "--limit", "hv1", bait_pool=POOL)
    lab.until("a VM to wait", lambda: pool().get("waiting"), lab.START_S)


def domains(node: str) -> dict[str, str]:
    """Return the domains of a node: name → id, which is another one after each start."""
    rows = (line.split() for line in lab.ssh(node, "virsh", "-q", "list").splitlines())
    return {row[1]: row[0] for row in rows if not row[1].startswith("template")}


def image_tags() -> list[tuple[str, str]]:
    """Return the image tags and the digests they point to."""
    return [(tag["tag"], tag["digest"]) for tag in json.loads(lab.ssh("head", "wnodes", "images", "list", "--json"))]


def left_of(node: str) -> list[str]:
    """Return what the machine has of ours."""
    return sorted(lab.sh(node, OURS).splitlines())


@pytest.fixture(scope="module", autouse=True)
def nothing_left(site: None, request: pytest.FixtureRequest) -> Iterator[None]:
    """Between these tests a VM waits. After them nothing is left, and the site is as it was, whatever went wrong."""
    failed = request.session.testsfailed
    yield
    lab.ssh("head", "scancel", "-u", "alice")
    if request.session.testsfailed > failed:
        lab.roll_out(anew=True)
    lab.until("the site to be clean", lambda: lab.left() == "", lab.CLEAN_S)


def test_check_mode_tells_what_a_run_then_does_and_does_nothing() -> None:
    assert changes(play("site", "--check", "--diff")) == {"head": 0, "hv1": 0, "hv2": 0}
    told = play("site", "--check", "--diff", "--limit", "hv1", bait_pool=POOL)
    assert re.search(r"^\+ +waiting: 1$", told, re.MULTILINE), told
    assert pool() == {}
    done = play("site", "--limit", "hv1", bait_pool=POOL)
    assert changed(told) == changed(done) == ["Write the configuration", "Run the service"]
    assert changes(done) == {"hv1": 2}


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """Collections with this one in its next version."""
    copy = tmp_path / "ansible_collections" / "wnodes" / "farm"
    copy.mkdir(parents=True)
    for name in ("galaxy.yml", "meta", "plugins", "roles", "playbooks"):
        source = REPO / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
    bundle = copy / "roles" / "runtime" / "files" / "bundle.py"
    for file in (bundle, copy / "galaxy.yml"):
        file.write_text(file.read_text().replace("0.1.0", "0.1.1"))
    return tmp_path


def test_an_upgrade_under_running_jobs_touches_no_job_and_no_vm(newer: Path) -> None:
    a_vm_waits()
    (waiting,) = domains("hv1")
    lab.ssh("head", "rm", "-f", lab.GO)
    virtual = lab.submit(lab.UNTIL_TOLD + "exit 5\n", "-C", lab.FEATURE, "-w", "hv1", "--mem=700")
    real = lab.submit(lab.UNTIL_TOLD + "exit 6\n", "-w", "hv1")
    host = lab.in_state(virtual, "RUNNING")["host"]
    before = domains("hv1")
    assert set(before) == {waiting, host}
    said = play("site", "--limit", "head,hv1", collections=newer, bait_pool=POOL)
    assert "Run the service" in changed(said)
    for node, service in (("head", "nameserver"), ("hv1", "hypervisor"), ("hv1", "bait")):
        assert str(health(node, service)["version"]).startswith("0.1.1+")
    assert domains("hv1") == before
    assert lab.native(real, "State") == "RUNNING"
    assert lab.in_state(virtual, "RUNNING", limit_s=lab.CLEAN_S)["host"] == host
    lab.ssh("head", "touch", lab.GO)
    job = lab.over(virtual)
    assert (job["outcome"], job["exit_code"], job["host"]) == ("FINISHED", 5, host)
    lab.until("the real job to end", lambda: lab.native(real, "State") == "FAILED", lab.CLEAN_S)
    assert "ExitCode=6:0" in lab.ssh("head", "scontrol", "show", "-o", "job", real)
    lab.until("the VM to wait still", lambda: pool()["waiting"] == 1, lab.CLEAN_S)
    assert domains("hv1") == {waiting: before[waiting]}
    lab.ssh("head", "rm", "-f", lab.GO)


def test_a_node_goes_with_all_that_is_ours_and_comes_back_alone() -> None:
    others, before = services("head", "hv1"), set(left_of("hv2"))
    assert {"/opt/wnodes", "/etc/wnodes", "/var/lib/wnodes"} <= before

    number = lab.submit("#!/bin/sh\nsleep 600\n", "-w", "hv2")
    lab.until("the job to run", lambda: lab.native(number, "State") == "RUNNING", lab.CLEAN_S)
    said = play("node_remove", "--limit", "hv2", fails=True)
    assert "hv2 (1 jobs): is not empty" in said
    assert "Drain the node" not in said, "it looks before it does anything"
    assert lab.node_state("hv2") == "mixed"
    lab.ssh("head", "scancel", number)
    lab.until("the job to be gone", lambda: lab.node_state("hv2") == "idle", lab.CLEAN_S)

    play("node_remove", "--limit", "hv2", node_remove_keep_images=True)
    # the images, as it was asked for, and what slurm.conf names
    stays = ["/etc/slurm/wnodes-task-prolog", "/var/lib/wnodes"]
    assert left_of("hv2") == stays
    assert set(lab.ssh("hv2", "ls", "-A", "/var/lib/wnodes").split()) <= {"images", "sealed"}
    assert set(lab.ssh("head", "sinfo", "-h", "-N", "-n", "hv2", "-o", "%T %f").splitlines()) == {"idle bait"}
    assert "hv2" not in lab.ssh("head", "wnodes", "status", "--json", check=False)
    assert set(changes(play("node_remove", "--limit", "hv2", node_remove_keep_images=True)).values()) == {0}

    told = play("site", "--check", "--diff", "--limit", "hv2")
    assert {"Write the configuration", "Run the service", "Remember what is installed"} <= set(changed(told))
    assert left_of("hv2") == stays
    assert set(changes(play("site", "--limit", "hv2"))) == {"hv2"}
    assert services("head", "hv1") == others
    # the appliance that seals images was not needed again
    assert before - set(left_of("hv2")) <= {"/var/cache/wnodes-image"}
    assert set(left_of("hv2")) - before == set()
    lab.until("hv2 to offer the image", lambda: lab.FEATURE in lab.ssh("head", "sinfo", "-hn", "hv2", "-o%f"), 60)
    number = lab.submit("#!/bin/sh\nhostname\n", "-C", lab.FEATURE, "-w", "hv2")
    job = lab.over(number)
    assert (job["bait"], job["outcome"]) == ("hv2", "FINISHED")


def test_a_head_node_made_anew_gets_its_directory_back_and_vms_keep_their_names(tmp_path: Path) -> None:
    backup = {"nameserver_backup_dir": str(tmp_path / "backup")}
    a_vm_waits()
    lab.until("the site to be well", lab.is_well, lab.CLEAN_S)
    tags, before = image_tags(), domains("hv1")
    assert tags
    play("backup", **backup)
    play("uninstall", "--limit", "head", uninstall_confirm="yes")
    assert left_of("head") == []
    play("site", "--limit", "head")
    assert image_tags() == []
    play("restore", **backup)
    assert image_tags() == tags
    held = {lease["name"] for lease in json.loads(lab.ssh("head", "wnodes", "leases", "--json"))}
    assert held == set(before)
    assert domains("hv1") == before
    # the version and the pool of before, on hv1 too
    lab.until("the site to be well", lab.is_well, lab.CLEAN_S)
    play("site")
    lab.until("the site to be well", lab.is_well, lab.CLEAN_S)
