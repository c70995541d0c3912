# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Site rules on one node of the lab: jobs that become virtual by them, are refused by them, and keep to them always."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import lab

NODE = "hv1"
FILE = "/etc/wnodes/rules.yml"
RULES = f"""# jobs of bob are virtual
- match: {{users: [bob], partitions: [main]}}
  image: {{default: {lab.TAG}}}
  memory: {{max: 600M}}
  scratch: {{default: 256M}}
"""
HOST = "#!/bin/sh\nhostname\n"
ON_NODE = ("-x", "hv2")


def roll_out(rules: Path | str) -> subprocess.CompletedProcess[str]:
    """Run the playbook of the site for one node, with a file of rules or none."""
    return lab.ansible(
        "ansible-playbook", str(lab.REPO / "playbooks/site.yml"), "-l", NODE, "-e", f"bait_rules={rules}"
    )


@pytest.fixture(scope="module")
def rules(site: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The rules, rolled out."""
    file = tmp_path_factory.mktemp("rules") / "rules.yml"
    file.write_text(RULES)
    try:
        done = roll_out(file)
        assert done.returncode == 0, done.stdout
        yield file
    finally:
        done = roll_out("")
    assert done.returncode == 0, done.stdout
    assert "No such file" in lab.ssh(NODE, "ls", FILE, check=False)


def test_a_job_that_names_no_image_runs_on_the_vm_that_a_rule_gives_it_and_is_told_by_which(rules: Path) -> None:
    number = lab.submit(HOST, *ON_NODE, user="bob")
    job = lab.over(number)
    assert (job["outcome"], job["request"]["tag"]) == ("FINISHED", lab.TAG)
    assert job["ruled"] == {"image": f"{FILE}:3", "scratch": f"{FILE}:5"}
    assert lab.output(number, "bob").strip() == job["host"]
    assert f"image ({FILE}:3), scratch ({FILE}:5)" in lab.as_user("bob", "wnodes", "explain", number)
    real = lab.submit(HOST, *ON_NODE)
    lab.until("the real job to end", lambda: lab.native(real, "State") == "COMPLETED", 60)
    assert lab.output(real).strip() == NODE


def test_a_job_beyond_a_rule_is_held_with_value_limit_and_rule(rules: Path) -> None:
    number = lab.submit(HOST, *ON_NODE, "--mem=700", user="bob")
    assert lab.over(number, 60)["outcome"] == "REFUSED"
    assert f"memory (700 MiB): is more than the rule allows (600 MiB, {FILE}:4)" in lab.native(number, "admin_comment")
    said = lab.ssh(
        NODE, "wnodes", "rules", "explain", "--user", "bob", "--partition", "main", "--wish", "memory=700", check=False
    )
    assert f"(600 MiB, {FILE}:4); ask for at most 600 MiB" in said


@pytest.mark.long
def test_without_a_bait_a_job_that_is_virtual_by_a_rule_is_kept_and_runs_when_the_bait_is_back(rules: Path) -> None:
    with lab.stopped(NODE, "wnodes-bait.service", "wnodes-hook.socket"):
        number = lab.submit(HOST, *ON_NODE, user="bob")
        lab.until("the node to be closed", lambda: "drain" in lab.node_state(NODE), 60)
        assert lab.native(number, "State") == "PENDING"
    job = lab.over(number)
    assert job["outcome"] == "FINISHED"
    assert lab.output(number, "bob").strip() == job["host"]
    lab.until("the node to be open", lambda: lab.node_state(NODE) in ("idle", "mixed"), 60)


def test_broken_rules_never_reach_a_node_and_all_that_is_wrong_is_said(rules: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text("- memory: {max: lots}\n- nmae: 1\n  cpus: {max: 1}\n")
    done = roll_out(broken)
    assert done.returncode != 0
    assert f"{broken}:1: memory.max ('lots'): is not a size" in done.stdout
    assert f"{broken}:2: rule ('nmae'): unknown key" in done.stdout
    unmet = tmp_path / "unmet.yml"
    unmet.write_text("- mounts: [/nosuch]\n")
    done = roll_out(unmet)
    assert done.returncode != 0
    assert f"{unmet}:1: mounts ('/nosuch'): is none of the file systems that this node gives to VMs" in done.stdout
    assert lab.ssh(NODE, "cat", FILE) == RULES
    assert lab.ssh(NODE, "systemctl", "is-active", "wnodes-bait").strip() == "active"
