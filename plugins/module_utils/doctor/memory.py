# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory: what Slurm allocates, what the node has, and what VMs of the pool take."""

from __future__ import annotations

import re
from typing import Dict, Iterator, Tuple

from ..bait.config import BaitConfig
from ..lrms.slurm_text import fields
from ..model.resources import Resources
from .check import NODE, Check, Finding, Wanted, failure, ok, skipped, warning
from .machine import Machine
from .slurm import where_slurm_answers

MEMINFO, OVERCOMMIT = "/proc/meminfo", "/proc/sys/vm/overcommit_memory"
#: MiB that the node's own system and services take
OWN_MIB = 512


def meminfo(text: str) -> Dict[str, int]:
    """Return the kernel's figures in MiB."""
    return {key: int(kib) >> 10 for key, kib in re.findall(r"^(\w+):\s+([0-9]+) kB$", text, re.MULTILINE)}


def given_away(machine: Machine, config: BaitConfig) -> Tuple[int, int]:
    """Return CPUs and MiB that Slurm allocates on this node.

    :raises CommandFailed: Slurm does not tell
    """
    shown = fields(machine.said("scontrol", "show", "-o", "node", config.slurm.node))
    memory = int(shown.get("RealMemory", "") or 0) - int(shown.get("MemSpecLimit", "") or 0)
    return int(shown.get("CPUEfctv", "") or shown.get("CPUTot", "") or 0), memory


def books(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    if wanted.bait is None:
        return
    given = given_away(machine, wanted.bait)[1]
    yield from judge_books(given, meminfo(machine.read(MEMINFO) or ""))


def judge_books(given: int, seen: Dict[str, int]) -> Iterator[Finding]:
    """Judge what Slurm allocates against what there is; huge pages are kept from VMs."""
    total, huge = seen.get("MemTotal", 0), seen.get("Hugetlb", 0)
    told = f"{given} MiB of {total} MiB" + (f", {huge} MiB of them in huge pages" if huge else "")
    if given > total - huge:
        yield failure(
            "RealMemory",
            told,
            "Slurm allocates more than there is: the kernel would kill VMs",
            "lower RealMemory, or set MemSpecLimit" + (", or free the huge pages: VMs do not use them" if huge else ""),
        )
    elif given > total - huge - OWN_MIB:
        yield warning(
            "RealMemory",
            told,
            f"less than {OWN_MIB} MiB are left for the node itself",
            "lower RealMemory, or set MemSpecLimit for what the system and the site's services take",
        )
    yield ok("RealMemory", told)


def flavours(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    if wanted.bait is None:
        return
    if not wanted.bait.pool.flavours:
        yield skipped("bait_pool.flavours", "there are none")
        return
    cpus, memory = given_away(machine, wanted.bait)
    yield from judge_flavours(wanted.bait, cpus, memory)


def judge_flavours(config: BaitConfig, cpus: int, memory: int) -> Iterator[Finding]:
    """Judge whether VMs that shall wait fit on the node: each one, and all together."""
    charges = [
        (f, config.overheads.charge(Resources(f.cpus, f.memory_mib, f.scratch_mib))) for f in config.pool.flavours
    ]
    for flavour, charge in charges:
        if charge.cpus > cpus or charge.memory_mib > memory:
            yield failure(
                f"flavour of {flavour.tag}",
                f"{charge.cpus} CPUs, {charge.memory_mib} MiB with what the VM itself needs",
                f"never fits: Slurm allocates {cpus} CPUs and {memory} MiB here",
                f"make it smaller in bait_pool: {config.overheads.largest(memory)} MiB at most",
            )
    all_cpus = sum(flavour.waiting * charge.cpus for flavour, charge in charges)
    all_memory = sum(flavour.waiting * charge.memory_mib for flavour, charge in charges)
    told = f"{all_cpus} CPUs, {all_memory} MiB"
    if all_cpus > cpus or all_memory > memory:
        yield warning(
            "waiting VMs",
            told,
            f"do not fit together: Slurm allocates {cpus} CPUs and {memory} MiB here",
            "let fewer wait in bait_pool",
        )
    yield ok("waiting VMs", told)


def overcommit(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    value = (machine.read(OVERCOMMIT) or "").strip()
    if value == "2":
        yield warning(
            "vm.overcommit_memory",
            value,
            "QEMU reserves more than it uses, and may be refused memory that is free",
            "set vm.overcommit_memory=0, the kernel's default: Slurm's books keep VMs within the node's memory",
        )
    yield ok("vm.overcommit_memory", value)


CHECKS = (
    Check("memory.books", "what Slurm allocates against what the node has", where_slurm_answers(books), (NODE,)),
    Check("memory.flavours", "whether VMs that shall wait fit on the node", where_slurm_answers(flavours), (NODE,)),
    Check("memory.overcommit", "the kernel's policy of giving memory away", overcommit, (NODE,)),
)
