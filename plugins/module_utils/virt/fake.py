# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host without a hypervisor: domains in memory, agents that do as they are told, failures on demand."""

from __future__ import annotations

import base64
import gzip
import ipaddress
import math
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

from ..model.errors import NotFoundError, UnavailableError, VirtError
from . import savefile
from .base import FoundDomain, HostEvent, HostListener, Versions, VmHost
from .domain import Domain, Filesystem, Interface, Metadata, renamed, to_xml
from .guest import UNPACK, read_assignments


@dataclass
class FakeDomain:
    """A domain in memory; ``scripts`` are those its agent was given, ``attached`` what was plugged in.

    :ivar pieces: of a script that has not come whole
    :ivar stalled: why its guest was stopped; empty: it was not
    :ivar clock: the guest's, as seconds beyond its host's
    """

    uuid: str
    name: str
    metadata: Optional[Metadata]
    domain: Optional[Domain] = None
    booted: bool = False
    scripts: List[str] = field(default_factory=list)
    clock: float = 0.0
    attached: List[Union[Interface, Filesystem]] = field(default_factory=list)
    stalled: str = ""
    pieces: bytes = b""


class FakeVmHost(VmHost):
    """:class:`VmHost` in memory.

    :param now: its clock
    :ivar down: the host does not answer at all
    :ivar boots: domains boot at once; False: they never do, until ``boot`` is called
    :ivar mute: agents take commands and never answer
    :ivar lies: read-back keys that come back with another value from every guest
    :ivar refuses: the reason why domains can't be started; empty: they can
    :ivar refuses_to_restore: the reason why none can be restored; empty: they can
    :ivar busy: processor seconds that each look at a domain finds it to have cost since the last
    :ivar late: seconds after which the next personalities are taken on, one after the other
    :ivar rtc: seconds by which the machines' own clocks are fast; None: guests see none
    :ivar moves_clocks: clocks can be set right
    :ivar made_of: versions of the host
    :ivar fails_setup: output of a failing setup script; empty: they succeed
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.domains: Dict[str, FakeDomain] = {}
        self.started: List[str] = []
        self.destroyed: List[str] = []
        self.down, self.boots, self.mute = False, True, False
        self.lies: Dict[str, str] = {}
        self.refuses = ""
        self.refuses_to_restore = ""
        self.fails_setup = ""
        self.busy = 0.0
        self.late: List[float] = []
        self.rtc: Optional[float] = 0.0
        self.moves_clocks, self._wall = True, 0.0
        self.made_of = Versions("7.2.22", "9.0.0", "fake")
        self.restored: List[str] = []
        self._cpu_seconds = 0.0
        self._listeners: List[HostListener] = []
        self._results: Dict[int, Tuple[int, str, str]] = {}
        self._lock = threading.RLock()

    # What a test or the simulator does to the host.

    def boot(self, uuid: str) -> None:
        """Let the guest come up."""
        self.domains[uuid].booted = True
        self._tell(HostEvent("agent", uuid))

    def kill(self, uuid: str) -> None:
        """Let QEMU die."""
        with self._lock:
            self.domains.pop(uuid)
        self._tell(HostEvent("stopped", uuid))

    def stall(self, uuid: str, why: str) -> None:
        """Let QEMU stop the guest, for what its disks were refused."""
        self.domains[uuid].stalled = why
        self._tell(HostEvent("stopped", uuid))

    def add_foreign(self, uuid: str, name: str, metadata: Optional[Metadata] = None) -> None:
        """Put a domain there that we did not start."""
        self.domains[uuid] = FakeDomain(uuid, name, metadata, booted=True)

    def come_back(self) -> None:
        """End an outage."""
        self.down = False
        self._tell(HostEvent("connected", ""))

    # VmHost

    def ping(self) -> None:
        if self.down:
            raise UnavailableError(object="fake host", reason="is down")

    def start(self, domain: Domain) -> None:
        self.ping()
        if self._begin(domain, "start", self.refuses):
            self.started.append(domain.uuid)
            if self.boots:
                self.boot(domain.uuid)

    def _begin(self, domain: Domain, what: str, refused: str) -> bool:
        if refused:
            raise VirtError(object=f"{what} {domain.name}", reason=refused)
        with self._lock:
            if domain.uuid in self.domains:
                return False
            if any(other.name == domain.name for other in self.domains.values()):
                raise VirtError(object=f"{what} {domain.name}", reason="a domain of this name exists already")
            self.domains[domain.uuid] = FakeDomain(domain.uuid, domain.name, domain.metadata, domain)
        return True

    def versions(self) -> Versions:
        self.ping()
        return self.made_of

    def cpu_seconds(self, uuid: str) -> float:
        self._get(uuid)
        self._cpu_seconds += self.busy
        return self._cpu_seconds

    def save(self, uuid: str, path: str) -> None:
        self.ping()
        domain = self.domains.get(uuid)
        if domain is None or domain.domain is None:
            savefile.read(path)
            return
        xml = to_xml(domain.domain)
        with open(path, "wb") as file:
            file.write(savefile.SaveFile(path, xml, b"", 1, 0).head(xml) + b"the memory")
        self.kill(uuid)

    def restore(self, path: str, domain: Domain) -> None:
        self.ping()
        renamed(savefile.read(path).xml, domain)
        if self._begin(domain, "restore", self.refuses_to_restore):
            self.restored.append(domain.uuid)
            self.boot(domain.uuid)

    def attach(self, uuid: str, device: Union[Interface, Filesystem]) -> None:
        attached = self._get(uuid).attached
        if device not in attached:
            attached.append(device)

    def _get(self, uuid: str) -> FakeDomain:
        self.ping()
        if uuid not in self.domains:
            raise NotFoundError(object=f"domain {uuid}", reason="is not there")
        return self.domains[uuid]

    def find(self, uuid: str) -> Optional[FoundDomain]:
        self.ping()
        domain = self.domains.get(uuid)
        return None if domain is None else self._found(domain)

    def list(self) -> Tuple[FoundDomain, ...]:
        self.ping()
        with self._lock:
            return tuple(map(self._found, self.domains.values()))

    @staticmethod
    def _found(domain: FakeDomain) -> FoundDomain:
        return FoundDomain(domain.uuid, domain.name, True, domain.metadata, domain.stalled)

    def destroy(self, uuid: str) -> bool:
        self.ping()
        with self._lock:
            domain = self.domains.get(uuid)
            if domain is None:
                return False
            if domain.metadata is None:
                raise VirtError(object=f"domain {domain.name}", reason="is not ours; it is not destroyed")
            del self.domains[uuid]
            self.destroyed.append(uuid)
        self._tell(HostEvent("stopped", uuid))
        return True

    def agent(self, uuid: str, command: str, arguments: Dict[str, Any], timeout_s: float) -> Any:
        self.ping()
        domain = self.domains.get(uuid)
        if domain is None or not domain.booted or self.mute:
            raise VirtError(object=f"agent {command} in {uuid}", reason="the guest agent is not connected")
        answers: Dict[str, Callable[[FakeDomain, Dict[str, Any]], Any]] = {
            "guest-ping": lambda _domain, _arguments: {},
            "guest-get-time": lambda domain, _arguments: int(1e9 * (domain.clock + self._now())),
            "guest-exec": self._exec,
            "guest-exec-status": self._status,
        }
        return answers[command](domain, arguments)

    def subscribe(self, listener: HostListener) -> None:
        self._listeners.append(listener)

    def close(self) -> None:
        self._listeners.clear()

    def _exec(self, domain: FakeDomain, arguments: Dict[str, Any]) -> Any:
        content, command = base64.b64decode(arguments["input-data"]), "".join(arguments["arg"][1:])
        with self._lock:
            if command and not command.endswith(UNPACK):
                domain.pieces += content
                return self._left(0, "", "")
            content, domain.pieces = domain.pieces + content, b""
            script = (gzip.decompress(content) if command else content).decode()
            domain.scripts.append(script)
            self._set_clock(domain, script)
            return self._left(*self._outcome(script))

    def _left(self, rc: int, out: str, err: str) -> Any:
        pid = len(self._results) + 1
        self._results[pid] = rc, out, err
        return {"pid": pid}

    def _set_clock(self, domain: FakeDomain, script: str) -> None:
        values = read_assignments(script) if script.startswith(("now=", "by=")) else {}
        if "now" in values:
            late, sent = self.late.pop(0) if self.late else 0.0, float(values["now"])
            self._wall = sent - self._now()
            last_second = -math.inf if self.rtc is None else math.floor(sent + late + self.rtc)
            domain.clock = max(sent, last_second) - late - self._now()
        elif "by" in values and self.moves_clocks:
            seen = self.rtc if values["rtc"] else None
            domain.clock = domain.clock + float(values["by"]) / 1000 if seen is None else self._wall + seen

    def _outcome(self, script: str) -> Tuple[int, str, str]:
        if not script.startswith("now="):
            return (1, "", self.fails_setup) if self.fails_setup else (0, "", "")
        wanted = read_assignments(script)
        lines = {
            "seeded": "yes",
            "hostname": wanted["hostname"],
            "machine_id": wanted["machine_id"],
            "address": f"{wanted['address']}/{wanted['prefix']}",
            "gateway": ipaddress.IPv4Address(wanted["gateway"]).packed[::-1].hex().upper() if wanted["gateway"] else "",
            "clock": wanted["now"].partition(".")[0],
        }
        lines.update(self.lies)
        mounts = [f"mount={mount}" for mount in filter(None, wanted["mounts"].split("\n"))]
        if wanted["scratch"]:
            mounts.append(f"mount={wanted['scratch']} /scratch rw")
        return 0, "\n".join([f"{key}={value}" for key, value in lines.items() if value] + mounts), ""

    def _status(self, _domain: FakeDomain, arguments: Dict[str, Any]) -> Any:
        rc, out, err = self._results[arguments["pid"]]
        encoded = {
            "out-data": base64.b64encode(out.encode()).decode(),
            "err-data": base64.b64encode(err.encode()).decode(),
        }
        return {"exited": True, "exitcode": rc, **encoded}

    def _tell(self, event: HostEvent) -> None:
        for listener in list(self._listeners):
            listener(event)
