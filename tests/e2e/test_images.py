# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images on the site: what VMs log, what never boots, updates in place, and roll-outs that go back by themselves."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import lab
from tests.e2e.lab import REPO

RECIPE = REPO / "roles" / "images" / "files" / "recipes" / "worker_debian12.yml"
MARK = "/etc/generation"

#: on the head node: puts a release into the directory that nobody signed, as if the directory were an enemy's
FORGE = """
import sys
from dataclasses import replace
from wnodes.model.image import Release
from wnodes.nameserver.client import NameserverClient
directory = NameserverClient.local()
release = directory.tag(sys.argv[1]).release
manifest = release.manifest.replace(sys.argv[1], sys.argv[2]).replace("quiet", "init=/bin/sh")
directory.set_tags((sys.argv[2],), Release(manifest, release.signature, release.location))
"""


def play(name: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run a playbook of the collection."""
    return lab.ansible("ansible-playbook", str(REPO / f"playbooks/{name}.yml"), "-e", json.dumps(variables))


def points_to() -> str:
    """Return the digest of the image that the tag has on all nodes."""
    entries = json.loads(lab.ssh("head", "wnodes", "images", "list", "--json"))
    (digest,) = (entry["digest"] for entry in entries if entry["tag"] == lab.TAG)
    return str(digest)


@pytest.fixture
def first() -> Iterator[str]:
    """Return the digest of the image that all nodes have; it is theirs again afterwards."""
    digest = points_to()
    yield digest
    if points_to() != digest:
        lab.sign(digest, lab.TAG)
        lab.ssh("head", "wnodes", "images", "publish", f"/shared/images/{digest}")


def test_what_a_vm_logs_is_in_its_node_s_journal_under_the_names_of_vm_and_job() -> None:
    number = lab.submit(
        "#!/bin/sh\nlogger -p user.warning -t analysis 'half done'\nsleep 600\n", "-C", lab.FEATURE, "-J", "my thesis"
    )
    job = lab.in_state(number, "RUNNING")

    def logged() -> str:
        found = f"journalctl -o json WNODES_JOB={number} WNODES_TAG=analysis --no-pager"
        return lab.sh(job["bait"], found).strip()

    record = json.loads(lab.until("the message", logged, 30).splitlines()[0])
    assert record["MESSAGE"].startswith(f"vm={job['host']} job={number} analysis")
    assert record["MESSAGE"].endswith("half done")
    assert (record["PRIORITY"], record["WNODES_JOB_NAME"], record["WNODES_USER"]) == ("4", "my thesis", "alice")
    assert record["SYSLOG_IDENTIFIER"] == "wnodes-vm"
    lab.as_user("alice", "scancel", number)
    lab.over(number)


def test_a_forged_image_is_offered_nowhere_and_the_refusal_is_on_record() -> None:
    forged = "forged_debian12_x86_64"
    lab.ssh("head", "/opt/wnodes/bin/python", "-", lab.TAG, forged, stdin=FORGE)
    try:

        def refused() -> bool:
            shown = json.loads(lab.ssh("head", "wnodes", "images", "show", forged, "--json"))
            return [node["state"] for node in shown["nodes"].values()] == ["refused"] * len(lab.NODES)

        lab.until("all nodes to refuse it", refused, 30)
        for node in lab.NODES:
            said = lab.ssh(node, "journalctl", "-t", "wnodes-hypervisor", "--no-pager", "-o", "cat")
            assert f"audit: image refused: tag={forged}" in said
            assert "signature is wrong" in said
        with pytest.raises(lab.Failed, match=r"[Ii]nvalid feature"):
            lab.submit("#!/bin/sh\n", "-C", f"vm_{forged}")
    finally:
        lab.ssh("head", "wnodes", "images", "retire", forged)
    assert "retired" in lab.ssh("head", "wnodes", "images", "show", forged)


@pytest.mark.long
def test_an_update_is_rolled_back_by_its_canary_and_then_taken_beside_a_job_on_the_old_image(
    first: str, tmp_path: Path
) -> None:
    recipe = tmp_path / "worker.yml"
    recipe.write_text(f'{RECIPE.read_text()}files:\n  - path: {MARK}\n    content: "two\\n"\n')
    old = lab.submit(f"#!/bin/sh\nwhile sleep 0.5; do test ! -e {MARK} || exit 9; done\n", "-C", lab.FEATURE)
    lab.in_state(old, "RUNNING")

    updated = play("image_update", images_recipe_file=str(recipe), images_upgrade=False)
    assert updated.returncode == 0, updated.stdout
    second = os.readlink(lab.PUBLISHED / lab.TAG)
    assert second != first == points_to()

    failed = play("image_rollout", images_rollout_job=f"#!/bin/sh\ntest ! -e {MARK}\n")
    assert failed.returncode != 0
    assert "was rolled back" in failed.stdout
    assert points_to() == first
    # the node that had the new image takes the old one again
    again = lab.submit(f"#!/bin/sh\ntest ! -e {MARK}\n", "-C", lab.FEATURE, "-w", "hv1")
    assert lab.over(again)["exit_code"] == 0

    lab.sign(second, lab.TAG)
    taken = play("image_rollout", images_rollout_job=f"#!/bin/sh\ngrep -q two {MARK}\n")
    assert taken.returncode == 0, taken.stdout
    assert points_to() == second
    new = lab.submit(f"#!/bin/sh\ncat {MARK}\n", "-C", lab.FEATURE)
    lab.over(new)
    assert lab.output(new).strip() == "two"

    assert lab.virtual(old)["state"] == "RUNNING"
    lab.as_user("alice", "scancel", old)
    assert lab.over(old)["outcome"] == "CANCELLED" or lab.virtual(old)["outcome"] == "FINISHED"
