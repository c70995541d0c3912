# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This machine, as the checks look at it: files, programs, services. Nothing is judged here; every call is bounded."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import time
from typing import Any, Dict, List, Optional, Tuple, Union

from ..jsonhttp import unix_client
from ..model.disk import DiskSpace, disk
from ..model.errors import CommandFailed, NotFoundError
from ..nameserver.client import NameserverClient
from ..nameserver.config import NameserverAccess
from ..process import Completed, run
from ..virt.accel import Accel, AccelProbe
from ..virt.base import Versions
from ..virt.libvirt_host import LibvirtHost

PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin:/opt/slurm/bin"
#: longer than commands of Slurm wait themselves (MessageTimeout, 10 s): what they say then tells more than silence
LIMIT_S = 20.0
#: the call of Linux that tells a device's address; services may not open netlink sockets, as ``ip`` does
SIOCGIFADDR = 0x8915


class Machine:
    """This machine. Tests replace single calls by what real machines have said."""

    def __init__(self) -> None:
        self._told: Dict[Tuple[str, ...], Union[str, CommandFailed]] = {}

    def now(self) -> float:
        """Return what the machine's clock says, in seconds since the epoch."""
        return time.time()

    def run(self, *argv: str, input: Optional[str] = None, check: bool = True) -> Completed:
        """Run a program; its messages are in English.

        :raises CommandFailed: see :func:`process.run`
        """
        environment = {"PATH": PATH, "LC_ALL": "C", "RES_OPTIONS": "timeout:1 attempts:1"}
        environment.update({key: os.environ[key] for key in ("SLURM_CONF",) if key in os.environ})
        return run(argv, timeout=LIMIT_S, input=input, env=environment, check=check)

    def said(self, *argv: str) -> str:
        """Return a program's standard output without white space around it."""
        return self.run(*argv).stdout.strip()

    def told(self, *argv: str) -> str:
        """Return what a program said when it was first asked: many checks ask the same, and silence takes its time."""
        if argv not in self._told:
            try:
                self._told[argv] = self.said(*argv)
            except CommandFailed as error:
                self._told[argv] = error
        found = self._told[argv]
        if isinstance(found, CommandFailed):
            raise found
        return found

    def program(self, name: str) -> str:
        """Return where a program is, or an empty text."""
        return shutil.which(name, path=PATH) or ""

    def read(self, path: str) -> Optional[str]:
        """Return a file's text; None if it can't be read."""
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return None

    def entries(self, folder: str) -> List[str]:
        """Return the names in a folder, sorted; none where there is no such folder."""
        try:
            return sorted(os.listdir(folder))
        except OSError:
            return []

    def there(self, path: str) -> bool:
        """Whether there is something at ``path``."""
        return os.path.exists(path)

    def mode(self, path: str) -> Optional[int]:
        """Return the permission bits of a file; None if there is none."""
        try:
            return os.stat(path).st_mode & 0o7777
        except OSError:
            return None

    def readable(self, folder: str) -> bool:
        """Whether there is a folder whose entries can be read."""
        return os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK)

    def free_mib(self, folder: str) -> int:
        """Return the MiB that are free on the disk of ``folder``, or of where it would be made."""
        return self._disk(folder).free_mib

    def total_mib(self, folder: str) -> int:
        """Return the MiB that this disk has in all."""
        return self._disk(folder).total_mib

    @staticmethod
    def _disk(folder: str) -> DiskSpace:
        while not os.path.exists(folder):
            folder = os.path.dirname(folder)
        return disk(folder)

    def is_mine(self, address: str) -> bool:
        """Whether a device of this machine has the IPv4 address."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                return False
        return True

    def has_address(self, device: str) -> bool:
        """Whether a device has an IPv4 address."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", device.encode()[:15]))
            except OSError:
                return False
        return True

    def addresses_of(self, name: str) -> Tuple[str, ...]:
        """Return the IPv4 addresses of a host name, as this machine's resolver has them.

        :raises NotFoundError: it has none
        """
        done = self.run("getent", "ahostsv4", name, check=False)
        found = dict.fromkeys(line.split()[0] for line in done.stdout.splitlines() if line.strip())
        if not found:
            raise NotFoundError(
                object=f"host name {name}", reason="does not resolve here", hint="add it to DNS or to /etc/hosts"
            )
        return tuple(found)

    def hosts(self, *keys: str) -> List[Tuple[str, Tuple[str, ...]]]:
        """Return address and names for each of the host names or addresses that resolve."""
        done = self.run("getent", "hosts", *keys, check=False)
        rows = (line.split() for line in done.stdout.splitlines())
        return [(row[0], tuple(row[1:])) for row in rows if len(row) > 1]

    def versions(self, uri: str) -> Versions:
        """Return the versions of libvirt and QEMU.

        :raises VirtError: libvirt does not answer
        :raises ConfigError: its Python package is not there
        """
        host = LibvirtHost(uri, LIMIT_S)
        try:
            return host.versions()
        finally:
            host.close()

    def ask(self, service: str, path: str, target: str) -> Dict[str, Any]:
        """Return what a service of ours answers on its Unix socket."""
        client = unix_client(service, path, LIMIT_S)
        try:
            return dict(client.call("GET", target))
        finally:
            client.close()

    def ask_nameserver(self, access: NameserverAccess, role: str) -> Dict[str, Any]:
        """Return how the nameserver is, asked over TLS with a role's certificate."""
        client = NameserverClient.connect(access, role)
        try:
            return client.status()
        finally:
            client.close()

    def tried(self, cache: str, kernel: str) -> Tuple[Accel, ...]:
        """Return what guests really booted with since this machine's start; where nothing was tried, try ``kernel``."""
        probe = AccelProbe(cache)
        return probe.known() or (probe.probe(kernel, kernel),)


def size_mib(machine: Machine, folder: str) -> int:
    """Return the MiB that a folder takes; 0 where it can't be told."""
    try:
        return int(machine.said("du", "-s", "--block-size=1M", folder).split()[0])
    except (CommandFailed, ValueError, IndexError):
        return 0
