# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that says what real ones have said: a healthy node or head, of which a test spoils one thing."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from wnodes.bait.config import BaitConfig
from wnodes.doctor.catalogue import CHECKS
from wnodes.doctor.check import HEAD, NODE, CheckOutcome, Finding, Wanted
from wnodes.doctor.machine import Machine
from wnodes.hypervisor.config import HypervisorConfig
from wnodes.model.codec import decode
from wnodes.model.errors import CommandFailed, VirtError, WnodesError
from wnodes.nameserver.config import NameserverAccess, NameserverConfig
from wnodes.process import Completed
from wnodes.virt.accel import KVM, Accel
from wnodes.virt.base import Versions

RECORDED = Path(__file__).parent / "recorded"
RELEASES = tuple(sorted(path.stem.partition("-")[2] for path in RECORDED.glob("config-*.txt")))
NOW = 1_000_000.0
ACCESS = {"url": "https://head.example.org"}
HOOK = {
    "/usr/libexec/wnodes/hook/main.py": "import sys\n",
    "/etc/slurm/epilog.d/50-wnodes": "#!/bin/sh\n",
    "/etc/slurm/prolog.d/50-wnodes": "#!/bin/sh\n",
    "/usr/libexec/wnodes/wnodes-hook": "#!/usr/bin/python3\n",
}
CONFIG = "host: hv1\n"
UNIT = "Id={}\nLoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\n"
ROLES = ("bait", "hypervisor", "nameserver", "manager")
NAMES = [f"DNS:{role}.wnodes" for role in ROLES]


def recorded(what: str, release: str = "24.11") -> str:
    """Return what a real Slurm has said."""
    return (RECORDED / f"{what}-{release}.txt").read_text()


def failing(reason: str) -> CommandFailed:
    return CommandFailed(object="program", value="program --option", reason=reason)


def node(running: bool = True, **more: Any) -> Wanted:
    hypervisor = decode(HypervisorConfig, {"host": "hv1", "nameserver": ACCESS, "mounts_allowed": ["/home"]})
    bait = decode(BaitConfig, {"host": "hv1", "nameserver": ACCESS, "slurm": {"node": "hv1"}})
    return replace(Wanted(NODE, running, hypervisor, bait, now=NOW - 0.5), **more)


def with_pool(**pool: Any) -> Wanted:
    data = {"host": "hv1", "nameserver": ACCESS, "slurm": {"node": "hv1"}, "pool": pool}
    return node(bait=decode(BaitConfig, data))


def head(running: bool = True, count: int = 20) -> Wanted:
    names = {"prefix": "vwn-", "first": 100, "address": "10.0.0.100", "count": count}
    network = {"prefix": 24, "gateway": "10.0.0.1"}
    config = decode(NameserverConfig, {"pool": {"network": network, "ranges": [names]}})
    return Wanted(HEAD, running, nameserver=config, now=NOW)


class Recorded(Machine):
    """See :class:`Machine`; ``says`` has the outputs by how a command line begins, ``files`` the files."""

    def __init__(self, release: str = "24.11") -> None:
        super().__init__()
        self.asked: list[str] = []
        self.says: dict[str, str | CommandFailed] = {
            "/usr/bin/python3 --version": "Python 3.11.2",
            "systemctl --version": "systemd 252 (252.39-1~deb12u2)\n+PAM +AUDIT",
            "systemctl show": "\n".join(UNIT.format(name) for name in ("wnodes-bait.service", "wnodes-hook.socket")),
            "timedatectl": "yes",
            "getent ahostsv4": "10.0.0.11       STREAM hv1.example.org\n10.0.0.11       DGRAM\n",
            "getent hosts": "10.0.0.11       hv1.example.org hv1\n",
            "du": "100\t/var/lib/wnodes/images",
            "scontrol ping": "Slurmctld(primary) at head is UP\n",
            "scontrol show config": recorded("config", release),
            "scontrol show -a -o partition": recorded("partitions", release),
            "scontrol show -o node": recorded("node", release),
            "sinfo": "hv1 4 bait,vm_a\nhv1 4 bait,vm_a\nhv2 4 bait\nvwn-100 2 wnvm,vm_a\n",
            "sbatch": "",
            "munge": "MUNGE:AwQFAAD=:\n",
            "unmunge": "STATUS:           Success (0)\n",
            "openssl verify": "/etc/wnodes/pki/bait.crt: OK",
            "openssl x509": f"notAfter=Nov 21 18:52:00 2027 GMT\n    {', '.join(NAMES)}\n",
            "openssl": "-----BEGIN PUBLIC KEY-----",
            "ip": "[]",
        }
        self.files = {
            "/proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu vme vmx hypervisor\n",
            "/proc/meminfo": "MemTotal:       16384000 kB\nHugetlb:               0 kB\n",
            "/proc/sys/vm/overcommit_memory": "0\n",
            "/proc/self/mounts": "/dev/vda1 / ext4 rw,relatime 0 0\ntmpfs /run tmpfs rw 0 0\n",
            "/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
            "/sys/class/net/br.default/flags": "0x1003\n",
            "/sys/class/net/br.default/bridge/stp_state": "0\n",
            "/sys/class/net/br.default/brif/eth0": "",
            "/sys/class/net/br.default/brif/vnet0": "",
            "/dev/kvm": "",
            "/usr/bin/qemu-system-x86_64": "",
            "/usr/lib/qemu/virtiofsd": "",
            "/boot/vmlinuz-6.1.0-40-cloud-amd64": "",
            "/lib/modules/6.1.0-40-cloud-amd64/modules.dep": "",
            "/home/alice": "",
            "/proc/net/vlan/config": "",
            "/opt/wnodes/installed": "wheels\n0.2.0\n",
            "/etc/wnodes/bait.yml": CONFIG,
            "/etc/wnodes/hypervisor.yml": CONFIG,
            **HOOK,
        }
        texts = [text.rstrip() for text in HOOK.values()]
        self.files["/usr/libexec/wnodes/hook.sha256"] = hashlib.sha256("|".join(texts).encode()).hexdigest()
        self.modes = {**dict.fromkeys(HOOK, 0o755), "/etc/slurm/wnodes-task-prolog": 0o755}
        self.modes |= {f"/etc/wnodes/pki/{role}.key": 0o600 for role in ROLES}
        self.missing: set[str] = set()
        self.mine = {"10.0.0.11"}
        self.addressed = True
        self.free, self.total = 200_000, 250_000
        self.libvirt: Versions | WnodesError = Versions("7.2.22", "9.0.0", "Intel")
        self.accel = Accel(KVM, "a guest kernel booted with it")
        checksum = hashlib.sha1(CONFIG.encode(), usedforsecurity=False).hexdigest()
        self.health: dict[str, Any] = {"version": "0.2.0", "config": checksum, "problems": []}
        self.dead: set[str] = set()
        self.ended = False
        self.public_key = "-----BEGIN PUBLIC KEY-----"

    def now(self) -> float:
        return NOW

    def run(self, *argv: str, input: str | None = None, check: bool = True) -> Completed:
        line = " ".join(argv)
        self.asked.append(line)
        if "-pubkey" in argv:
            return Completed(argv, 0, self.public_key, "")
        said = self.says[max((start for start in self.says if line.startswith(start)), key=len)]
        if isinstance(said, CommandFailed):
            if check:
                raise said
            return Completed(argv, 1, "", said.reason)
        return Completed(argv, int("-checkend" in argv and self.ended), said, "")

    def program(self, name: str) -> str:
        return "" if name in self.missing else f"/usr/bin/{name}"

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def entries(self, folder: str) -> list[str]:
        below = [path[len(folder) + 1 :] for path in self.files if path.startswith(folder + "/")]
        return sorted({name.partition("/")[0] for name in below})

    def there(self, path: str) -> bool:
        return path in self.files or bool(self.entries(path))

    def mode(self, path: str) -> int | None:
        return self.modes.get(path)

    def readable(self, folder: str) -> bool:
        return folder not in self.missing

    def free_mib(self, folder: str) -> int:
        return self.free

    def total_mib(self, folder: str) -> int:
        return self.total

    def is_mine(self, address: str) -> bool:
        return address in self.mine

    def has_address(self, device: str) -> bool:
        return self.addressed

    def versions(self, uri: str) -> Versions:
        if isinstance(self.libvirt, WnodesError):
            raise self.libvirt
        return self.libvirt

    def ask(self, service: str, path: str, target: str) -> dict[str, Any]:
        if service in self.dead:
            raise VirtError(object=service, reason="does not answer")
        return self.health

    def ask_nameserver(self, access: NameserverAccess, role: str) -> dict[str, Any]:
        return self.ask("nameserver", "", "")

    def tried(self, cache: str, kernel: str) -> tuple[Accel, ...]:
        return (self.accel,)


def spoiled(release: str, key: str, value: str) -> Recorded:
    """Return a node whose Slurm has another value for a key."""
    machine = Recorded(release)
    shown, count = re.subn(rf"(?m)^{key}(\[0\])?( *)= .*", rf"{key}\1\2= {value}", recorded("config", release))
    assert count == 1
    machine.says["scontrol show config"] = shown
    return machine


def outcomes(machine: Machine, wanted: Wanted) -> dict[str, Finding]:
    """Return the first finding of every check that was made."""
    machine._told.clear()  # tests spoil one machine after the other
    made = {check.name: check.findings(machine, wanted)[0] for check in CHECKS if check.fits(wanted)}
    assert set(made) <= {check.name for check in CHECKS}
    return made


def bad(machine: Machine, wanted: Wanted) -> dict[str, Finding]:
    """Return what is not well, by check."""
    return {
        name: finding
        for name, finding in outcomes(machine, wanted).items()
        if finding.outcome in (CheckOutcome.FAILURE, CheckOutcome.WARNING)
    }


def only(machine: Machine, wanted: Wanted, check: str) -> Finding:
    """Return what one check finds; all others must find nothing bad."""
    found = bad(machine, wanted)
    assert set(found) == {check}, found
    return found[check]
