# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host names and addresses, as this machine's resolver has them."""

from __future__ import annotations

import ipaddress
from typing import Dict, Iterator, List, Tuple

from ..directory.base import HostName
from ..model.errors import NotFoundError
from .check import HEAD, NODE, Check, Finding, Wanted, failure, ok, skipped, warning
from .machine import Machine
from .slurm import where_slurm_answers

#: host names that are looked up; each takes its time where no name server answers
MOST = 128


def _node(wanted: Wanted) -> str:
    if wanted.bait is not None:
        return wanted.bait.slurm.node
    return wanted.hypervisor.host if wanted.hypervisor is not None else ""


def own(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    name = _node(wanted)
    if not name:
        yield skipped("name of this node", "is not known")
        return
    try:
        addresses = machine.addresses_of(name)
    except NotFoundError as error:  # Slurm may know it by its address alone
        yield warning(error.object, "", "does not resolve here: nor may it on the head node", error.hint)
        return
    outside = [address for address in addresses if not ipaddress.ip_address(address).is_loopback]
    if not outside:
        yield warning(
            f"host name {name}",
            ", ".join(addresses),
            "resolves to a loopback address on this machine",
            "give it its address of the site's network in DNS or /etc/hosts",
        )
        return
    if not any(map(machine.is_mine, outside)):
        yield failure(
            f"host name {name}",
            ", ".join(outside),
            "is another machine's: no device here has that address",
            "correct DNS or /etc/hosts; or runtime_node, where the node has another name",
        )
    yield from _reverse(name, outside[0], dict(machine.hosts(outside[0])))


def _reverse(name: str, address: str, told: Dict[str, Tuple[str, ...]]) -> Iterator[Finding]:
    back = [known.partition(".")[0] for known in told.get(address, ())]
    if name.partition(".")[0] not in back:
        yield warning(
            f"address {address}",
            ", ".join(back),
            f"does not lead back to {name}: logs and some file systems miss that",
            "add the reverse entry to DNS, or the name to /etc/hosts",
        )
    yield ok(f"host name {name}", address)


def head(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    config = wanted.hypervisor or wanted.bait
    if config is None:
        return
    host, _port = config.nameserver.place()
    try:
        ipaddress.ip_address(host)
    except ValueError:
        yield ok(f"host name {host}", ", ".join(machine.addresses_of(host)))
    else:
        yield ok("head node", f"{host} needs no lookup")


def ranges(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    if wanted.nameserver is None:
        return
    names = wanted.nameserver.pool.pool().names
    looked = names[:MOST]
    told = machine.hosts(*[name.name for name in looked], *[name.address for name in looked])
    yield from judge_ranges(looked, told)
    yield ok("host names of VMs", f"{len(names)}, {len(looked)} of them looked up")


def judge_ranges(names: Tuple[HostName, ...], told: List[Tuple[str, Tuple[str, ...]]]) -> Iterator[Finding]:
    """Judge what the resolver says: names and addresses of VMs must be nobody else's."""
    address_of = {name.name: name.address for name in names}
    name_of = {name.address: name.name for name in names}
    for address, known in told:
        short = {name.partition(".")[0] for name in known}
        for name in sorted(short & set(address_of)):
            if address_of[name] != address:
                yield failure(
                    f"host name {name}",
                    address,
                    f"VMs are to have it with {address_of[name]}, and it is another host's",
                    "choose other names in nameserver_ranges, or correct DNS",
                )
        if address in name_of and name_of[address] not in short:
            yield failure(
                f"address {address}",
                ", ".join(known),
                f"VMs are to have it as {name_of[address]}, and it is another host's",
                "choose other addresses in nameserver_ranges, or correct DNS",
            )


def enough(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    if wanted.nameserver is None:
        return
    listed = machine.said("sinfo", "-h", "-a", "-N", "-o", "%N %c %f")
    cpus = count_cpus(listed)
    names = len(wanted.nameserver.pool.pool().names)
    if names < cpus:
        yield warning(
            "host names of VMs",
            str(names),
            f"the nodes have {cpus} CPUs, so with VMs of one CPU some have to wait for a name",
            "add to nameserver_ranges, unless the usual VM has more CPUs",
        )
    yield ok("host names of VMs", f"{names} for {cpus} CPUs")


def count_cpus(listed: str) -> int:
    """Return the CPUs of the physical nodes in sinfo's lines ``NODE CPUS FEATURES``."""
    rows = {row[0]: row for row in (line.split() for line in listed.splitlines()) if len(row) == 3}
    physical = (row for row in rows.values() if not {"wnvm", "wndirect"} & set(row[2].split(",")))
    return sum(int(row[1]) for row in physical if row[1].isdigit())


CHECKS = (
    Check("names.own", "this node's name and address, forward and back", own, (NODE,)),
    Check("names.head", "the head node's name, as this node has it", head, (NODE,)),
    Check("names.ranges", "names and addresses of VMs: nobody else's", ranges, (HEAD,)),
    Check("names.enough", "host names of VMs against the CPUs of the nodes", where_slurm_answers(enough), (HEAD,)),
)
