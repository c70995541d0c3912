# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory arithmetic."""

from __future__ import annotations

from tests.unit.plugins.module_utils.doctor.machine_fixture import Recorded, bad, node, only, with_pool
from wnodes.doctor.check import CheckOutcome


def with_memory(total_mib: int, huge_mib: int = 0) -> Recorded:
    machine = Recorded()
    machine.files["/proc/meminfo"] = (
        f"MemTotal:  {total_mib << 10} kB\nHugePages_Total:  7\nHugetlb:  {huge_mib << 10} kB\n"
    )
    return machine


def test_slurm_may_not_give_away_more_than_there_is() -> None:
    assert bad(with_memory(6512), node()) == {}
    assert only(with_memory(6511), node(), "memory.books").outcome is CheckOutcome.WARNING
    found = only(with_memory(5999), node(), "memory.books")
    assert (found.outcome, found.value) == (CheckOutcome.FAILURE, "6000 MiB of 5999 MiB")


def test_huge_pages_are_kept_from_vms() -> None:
    found = only(with_memory(8000, 3000), node(), "memory.books")
    assert "free the huge pages" in found.hint
    assert "3000 MiB of them in huge pages" in found.value


def test_a_flavour_that_never_fits_is_a_failure_and_too_many_of_them_a_warning() -> None:
    flavour = {"tag": "worker_debian12_x86_64", "cpus": 1, "memory_mib": 2000}
    assert bad(Recorded(), with_pool(flavours=[{**flavour, "waiting": 2}])) == {}
    found = only(Recorded(), with_pool(flavours=[{**flavour, "waiting": 3}]), "memory.flavours")
    assert (found.outcome, found.value) == (CheckOutcome.WARNING, "3 CPUs, 7491 MiB")
    found = only(Recorded(), with_pool(flavours=[{**flavour, "memory_mib": 5500}]), "memory.flavours")
    assert (found.outcome, found.value) == (CheckOutcome.FAILURE, "1 CPUs, 6082 MiB with what the VM itself needs")


def test_a_kernel_that_gives_no_memory_in_advance_is_a_warning() -> None:
    machine = Recorded()
    machine.files["/proc/sys/vm/overcommit_memory"] = "2\n"
    assert only(machine, node(), "memory.overcommit").value == "2"
