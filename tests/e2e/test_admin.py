# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What administrators do from the head: look, drain, read a console, collect what a helper needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import lab
from tests.e2e.lab import FEATURE, NODES, in_state, over, ssh, submit, until

ALL = "/tmp/e2e-bundle.tar.gz"
#: calls hv2's bait as another role would, with what is on the node it runs on
CALL = """
from wnodes.jsonhttp import tls_client
place = ("hv2", 8445)
tls_client("bait", place, "hv2.bait.wnodes", "", "/etc/wnodes/pki", "{role}", 9.0).call("GET", "/v1/status")
"""


def told(*arguments: str) -> Any:
    """Return what a command prints as JSON."""
    return json.loads(ssh("head", "wnodes", *arguments, "--json"))


def drained(node: str) -> dict[str, Any]:
    return told("hosts", node)[0]["drain"] or {}


@pytest.fixture
def open_again() -> Iterator[None]:
    yield
    ssh("head", "wnodes", "undrain", *NODES)
    until("all nodes to be open", lab.is_well, 30)


def test_the_head_shows_all_nodes_and_those_that_are_meant() -> None:
    assert [row["host"] for row in told("hosts")] == list(NODES)
    (row,) = told("hosts", "hv[2-2]")
    assert (row["host"], row["bait"], row["hypervisor"], row["drain"]) == ("hv2", "OK", "OK", None)
    assert row["node"]["memory_mib"] > 0
    assert {service["host"] for service in told("status", "hv*")["services"]} == set(NODES)
    assert "known hosts: head, hv1, hv2" in ssh("head", "wnodes", "jobs", "hv9", check=False)


def test_a_node_is_drained_from_the_head_while_its_job_runs_on(open_again: None) -> None:
    number = submit("#!/bin/sh\nexec sleep 600\n", f"--constraint={FEATURE}", "--mem=300M")
    job = in_state(number, "RUNNING")
    node = job["bait"]
    (outcome,) = told("drain", node, "--reason", "new kernel", "--deadline", "1h")
    assert (outcome["changed"], outcome["drain"]["jobs"], outcome["drain"]["empty"]) == (True, 1, False)
    assert "wnodes: root on head drained it: new kernel" in ssh("head", "sinfo", "-h", "-R", "-o", "%E %n")
    assert lab.node_state(node).startswith("drain")
    # the order outlives the bait
    ssh(node, "systemctl", "restart", "wnodes-bait")
    until("the bait to tell of its order", lambda: drained(node).get("reason") == "new kernel", 30)
    assert lab.virtual(number)["state"] == "RUNNING"
    ssh("head", "scancel", number)
    over(number)
    said = ssh("head", "wnodes", "drain", node, "--reason", "another kernel", "--wait", limit_s=180)
    assert "drained (empty)" in said and "lifted" not in said


def test_at_the_deadline_a_job_goes_back_into_the_queue_and_runs_elsewhere(open_again: None) -> None:
    number = submit("#!/bin/sh\nexec sleep 600\n", f"--constraint={FEATURE}", "--mem=300M")
    first = in_state(number, "RUNNING")["bait"]
    order = ("--reason", "fire", "--deadline", "5s", "--then", "requeue", "--wait")
    ssh("head", "wnodes", "drain", first, *order, limit_s=180)
    again = in_state(number, "RUNNING")
    assert again["bait"] != first
    assert drained(first)["empty"] is True


def test_a_console_is_read_from_the_head() -> None:
    number = submit("#!/bin/sh\nexec sleep 600\n", f"--constraint={FEATURE}", "--mem=300M")
    job = in_state(number, "RUNNING")
    # its VM was restored, and says nothing by itself then
    log = f"/var/lib/wnodes/vms/{job['vm'] or job['id']}/console.log"
    lab.sh(job["bait"], f"printf '\\033[2Jhello\\r\\n' >> {log}")
    assert "^[[2Jhello" in ssh("head", "wnodes", "console", job["host"], "--lines", "0").splitlines()


@pytest.fixture
def no_bundle() -> Iterator[None]:
    ssh("head", "rm", "-f", ALL)
    yield
    ssh("head", "rm", "-f", ALL)


def test_a_bundle_of_the_site_has_every_part(no_bundle: None) -> None:
    said = json.loads(ssh("head", "wnodes", "support-bundle", "--output", ALL, "--json", limit_s=180))
    assert [part for part in said["parts"] if part.get("error") or part["left_out"]] == []
    names = ssh("head", "tar", "tzf", ALL)
    for wanted in ("hv1/bait/slurm-node.txt", "hv2/hypervisor/domains.txt", "head/nameserver/leases.json"):
        assert f"/{wanted}\n" in names
    for part in ("hv1/bait/versions.txt", "hv1/hypervisor/journal.txt", "hv2/bait/slurm-nodes.txt"):
        text = lab.sh("head", f"tar xzOf {ALL} --wildcards '*/{part}'")
        assert not text.startswith("left out") and not text.splitlines()[-1].startswith("exit code"), text[-500:]
        assert len(text.splitlines()) > 3
    assert ssh("head", "stat", "-c", "%a %U", ALL) == "600 root\n"


@pytest.mark.parametrize("role", ["bait", "hypervisor"])
def test_a_node_can_not_command_another_one(role: str) -> None:
    said = ssh("hv1", "/opt/wnodes/bin/python", "-c", CALL.format(role=role), check=False)
    assert "is not a manager's" in said


def test_manual_and_completion_are_installed() -> None:
    assert lab.sh("head", "ls /usr/local/share/man/man1/wnodes-drain.1 /usr/local/share/zsh/site-functions/_wnodes")
    assert "wnodes-drain.1" in lab.sh("head", "man -w wnodes-drain")
    load = ". /usr/share/bash-completion/bash_completion; _completion_loader wnodes; complete -p wnodes"
    assert "complete" in lab.ssh("head", "bash", "-c", load)
    words = "COMP_WORDS='wnodes drain h' COMP_CWORD=2 _WNODES_COMPLETE=complete_bash wnodes"
    assert lab.sh("head", words).split() == list(NODES)
