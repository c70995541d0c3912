# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image module on a real worker node's image: packages of a repository on this machine, accounts, the last look."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.image_run import command, digest, run
from tests.integration.repository_fixture import BULK, HOST, Repository, differing, repository_in
from wnodes.model.image import CachedImage


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with repository_in(tmp_path) as made:
        yield made


@pytest.fixture
def disk(worker_image: CachedImage, tmp_path: Path) -> Path:
    """Return a copy of the worker's image."""
    path = tmp_path / "disk.qcow2"
    command("cp", "--sparse=always", worker_image.disk, str(path))
    path.chmod(0o644)
    return path


def content(disk: Path, *paths: str) -> list[str]:
    """Return files of an image without a partition table, read without libguestfs."""
    raw = disk.with_suffix(".raw")
    command("qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(disk), str(raw))
    found = [command("debugfs", "-R", f"cat {path}", str(raw)) for path in paths]
    raw.unlink()
    return found


@pytest.mark.long
def test_an_update_of_50_mb_changes_little_more_than_50_mb_of_the_image(
    disk: Path, repository: Repository, tmp_path: Path
) -> None:
    repository.offer("1", BULK)
    assert run(
        disk,
        files=[{"path": "/etc/apt/sources.list", "content": repository.source}],
        delete=["/etc/apt/sources.list.d"],
    )["changed"]
    assert run(disk, packages=["wnodes-bulk"], network=True)["actions"] == ["install wnodes-bulk"]

    repository.offer("2", BULK)
    before = tmp_path / "before.qcow2"
    shutil.copy(disk, before)
    foretold = run(disk, check=True, upgrade=True, network=True)
    assert foretold["actions"] == ["upgrade wnodes-bulk 1 → 2"]
    assert digest(disk) == digest(before)

    done = run(disk, upgrade=True, network=True)
    assert (done["actions"], done["diff"]) == (foretold["actions"], foretold["diff"])
    changed = differing(before, disk)
    print(f"{changed} bytes changed, {changed / BULK:.2f} x the package")
    assert BULK <= changed <= 1.3 * BULK

    updated = digest(disk)
    assert not run(disk, upgrade=True, network=True)["changed"]
    assert digest(disk) == updated

    removed = run(disk, packages_absent=["wnodes-bulk"])
    assert removed["actions"] == ["remove package wnodes-bulk"]
    assert not run(disk, packages_absent=["wnodes-bulk"])["changed"]


def test_a_source_that_does_not_answer_is_an_error_and_not_an_image_without_news(disk: Path) -> None:
    files = [{"path": "/etc/apt/sources.list", "content": f"deb [trusted=yes] http://{HOST}:9/ ./\n"}]
    run(disk, files=files, delete=["/etc/apt/sources.list.d"])
    before = digest(disk)
    refused = run(disk, upgrade=True, network=True)
    assert refused["error"]["value"] == "fetch the package index"
    assert f"Could not connect to {HOST}:9" in refused["error"]["reason"]
    assert digest(disk) == before


def test_users_and_groups_are_those_that_the_image_s_own_tools_would_make(disk: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.qcow2"
    shutil.copy(disk, other)
    files = ("/etc/passwd", "/etc/group", "/etc/gshadow", "/etc/shadow")
    groups = [{"name": "atlas", "gid": 5000}, {"name": "daemons", "system": True}, {"name": "cms"}]
    nologin = "/usr/sbin/nologin"
    users = [
        {"name": "condor", "system": True, "home": "/var/lib/condor"},
        {"name": "atlas001", "group": "atlas", "groups": ["cms", "munge"], "comment": "Pool", "shell": "/bin/bash"},
        {"name": "alice", "uid": 4711, "shell": "/bin/sh"},
        {"name": "bob", "shell": "/bin/sh"},
    ]
    run(disk, groups=groups, users=users)
    commands = [
        "groupadd --gid 5000 atlas; groupadd --system daemons; groupadd cms",
        f"useradd --system --user-group --home-dir /var/lib/condor --shell {nologin} condor",
        "useradd --create-home --gid atlas --groups cms,munge --comment Pool --shell /bin/bash atlas001",
        "useradd --create-home --user-group --uid 4711 --shell /bin/sh alice",
        "useradd --create-home --user-group --shell /bin/sh bob",
    ]
    run(other, commands=[{"shell": line} for line in commands])
    ours, theirs = content(disk, *files), content(other, *files)
    assert ours[:3] == theirs[:3]
    for ours_line, theirs_line in zip(ours[3].splitlines(), theirs[3].splitlines()):
        assert ours_line.split(":")[:2] == theirs_line.split(":")[:2]
    assert not run(disk, check=True, groups=groups, users=users)["changed"]
    assert not run(other, check=True, users=[user for user in users if "home" not in user])["changed"]


def test_the_last_look_finds_all_that_a_used_machine_leaves_and_passes_the_image_as_published(
    disk: Path, tmp_path: Path
) -> None:
    options = {"publish_to": str(tmp_path / "images"), "tags": ["worker_debian12_x86_64"]}
    left = {
        "/root/.bash_history": "reboot\n",
        "/root/.ssh/authorized_keys": "ssh-rsa AAAA stranger\n",
        "/home/alice/.ssh/deploy": "-----BEGIN OPENSSH PRIVATE KEY-----\n",
        "/etc/ssh/ssh_host_rsa_key": "x",
        "/etc/condor/passwords.d/POOL": "x",
        "/var/lib/cloud/instances/i-1/user-data.txt": "x",
        "/var/lib/dhcp/dhclient.leases": "lease {}",
        "/var/lib/systemd/random-seed": "x",
    }
    # what a recipe puts there is meant, so a used machine's things come from somewhere else
    used = tmp_path / "used.qcow2"
    shutil.copy(disk, used)
    run(used, files=[{"path": path, "content": text} for path, text in left.items()])
    refused = run(used, **options)
    said = refused["error"]["value"]
    assert [path for path in left if path.split("/user-data")[0] not in said] == []
    assert said.count("(") == len(left)
    assert run(disk, check=True, **options)["changed"]
