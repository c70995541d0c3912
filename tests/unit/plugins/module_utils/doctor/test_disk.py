# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.doctor.machine_fixture import Recorded, bad, node, only, with_pool
from wnodes.doctor.check import CheckOutcome
from wnodes.doctor.disk import mount_of


@pytest.mark.parametrize(
    ("mount", "says"),
    [
        ("nas:/var /var/lib nfs4 rw 0 0", "another machine's"),
        ("gl /var/lib/wnodes fuse.glusterfs rw 0 0", "another machine's"),
        ("tmpfs /var/lib/wnodes tmpfs rw 0 0", "forgets"),
        ("/dev/vdb /var/lib/wnodes xfs ro,relatime 0 0", "can't be written to"),
    ],
)
def test_a_file_system_that_is_no_place_for_journals_is_a_failure(mount: str, says: str) -> None:
    machine = Recorded()
    machine.files["/proc/self/mounts"] += mount + "\n"
    assert says in only(machine, node(), "disk.file_system").reason


def test_the_mount_that_is_nearest_and_last_counts() -> None:
    text = "a / ext4 rw 0\nb /var/li xfs rw 0\nc /var\\040lib/x xfs rw 0\nd /var/lib ext4 rw 0\ne /var/lib btrfs rw,a 0"
    assert mount_of(text, "/var/lib/wnodes") == ("/var/lib", "btrfs", ("rw", "a"))
    assert mount_of(text, "/var lib/x/y")[0] == "/var lib/x"


def test_a_scratch_disk_that_never_fits_is_a_failure_and_too_many_of_them_a_warning() -> None:
    machine = Recorded()
    machine.total = 11_024
    flavour = {"tag": "worker_debian12_x86_64", "cpus": 1, "memory_mib": 500, "scratch_mib": 5000}
    assert bad(machine, with_pool(flavours=[{**flavour, "waiting": 2}])) == {}
    found = only(machine, with_pool(flavours=[{**flavour, "waiting": 3}]), "disk.scratch")
    assert (found.outcome, found.value) == (CheckOutcome.WARNING, "15000 MiB")
    found = only(machine, with_pool(flavours=[{**flavour, "scratch_mib": 10_001}]), "disk.scratch")
    assert (found.outcome, found.value) == (CheckOutcome.FAILURE, "10001 MiB")
    assert "10000 MiB of disk" in found.reason


def test_too_little_room_is_a_failure_and_caches_that_may_fill_the_disk_are_a_warning() -> None:
    machine = Recorded()
    machine.free = 1000
    assert only(machine, node(), "disk.room").outcome is CheckOutcome.FAILURE
    machine.free = 30_000
    found = only(machine, node(), "disk.room")
    assert (found.outcome, found.value) == (CheckOutcome.WARNING, "30000 MiB free, 200 MiB in caches")
