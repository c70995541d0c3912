# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host by libvirt. A hung or restarted libvirtd costs a call its deadline, never the service."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import logging
import threading
import xml.etree.ElementTree as ET
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Tuple, TypeVar, Union

from ..load import Stretch, stretch
from ..model.errors import ConfigError, NotFoundError, UnavailableError, VirtError, WnodesError
from . import savefile
from .base import FoundDomain, HostEvent, HostListener, Versions, VmHost
from .domain import NAMESPACE, Domain, Filesystem, Interface, device_xml, has_device, read_metadata, renamed, to_xml

log = logging.getLogger(__name__)

T = TypeVar("T")

#: a libvirtd that answers none of so many keepalives, sent at this interval (seconds), is given up
KEEPALIVE = (3, 3)
#: calls that may hang in libvirt at once
MAX_CALLS = 64
START_S = 60.0
#: memory goes to a disk that may be slow
SAVE_S = 600.0


def _libvirt() -> Any:
    try:
        import libvirt
    except ImportError as error:
        raise ConfigError(
            object="Python package libvirt",
            reason=f"can't be imported: {error}",
            hint="install the distribution's python3-libvirt",
        ) from None
    return libvirt


class _EventLoop:
    """libvirt's event loop: one a process, in a thread that lives as long as it."""

    _lock = threading.Lock()
    _thread: Optional[threading.Thread] = None

    @classmethod
    def ensure(cls, libvirt: Any) -> None:
        with cls._lock:
            if cls._thread is None:
                libvirt.virEventRegisterDefaultImpl()
                # libvirt prints each error to stderr otherwise; ours are raised
                libvirt.registerErrorHandler(lambda *_: None, None)
                cls._thread = threading.Thread(target=cls._run, args=(libvirt,), name="libvirt-events", daemon=True)
                cls._thread.start()

    @staticmethod
    def _run(libvirt: Any) -> None:
        while True:
            try:
                libvirt.virEventRunDefaultImpl()
            except libvirt.libvirtError as error:
                log.error("libvirt's event loop: %s", error)


def _version(number: int) -> str:
    """Return libvirt's number for a version (major * 1,000,000 + minor * 1,000 + release) as text."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


class LibvirtHost(VmHost):
    """Domains of the libvirt daemon behind ``uri``; connects at the first call and again whenever it has to.

    :param timeout_s: deadline of an ordinary call, in seconds
    :param stretch: tells how busy this machine is: all deadlines are those of a free one
    """

    def __init__(self, uri: str, timeout_s: float = 10.0, stretch: Stretch = stretch) -> None:
        self._uri, self._timeout_s, self._stretch = uri, timeout_s, stretch
        self._lv = _libvirt()
        _EventLoop.ensure(self._lv)
        self._lock = threading.Lock()
        self._connection: Any = None
        self._callbacks: List[int] = []
        self._listeners: List[HostListener] = []
        self._slots = threading.Semaphore(MAX_CALLS)

    def ping(self) -> None:
        self._call("ping", lambda connection: connection.getLibVersion())

    def start(self, domain: Domain) -> None:
        def work(connection: Any) -> None:
            if self._lookup(connection, domain.uuid) is None:
                connection.createXML(to_xml(domain), 0)

        self._call(f"start {domain.name}", work, START_S)

    def find(self, uuid: str) -> Optional[FoundDomain]:
        def work(connection: Any) -> Optional[FoundDomain]:
            domain = self._lookup(connection, uuid)
            return None if domain is None else self._found(domain)

        return self._call(f"find {uuid}", work)

    def list(self) -> Tuple[FoundDomain, ...]:
        def work(connection: Any) -> Tuple[FoundDomain, ...]:
            found = (self._found(domain) for domain in connection.listAllDomains(0))
            return tuple(domain for domain in found if domain is not None)

        return self._call("list", work)

    def destroy(self, uuid: str) -> bool:
        def work(connection: Any) -> bool:
            domain = self._lookup(connection, uuid)
            if domain is None:
                return False
            found = self._found(domain)
            if found is None:
                return False
            if found.metadata is None:
                raise VirtError(object=f"domain {found.name}", reason="is not ours; it is not destroyed")
            try:
                domain.destroyFlags(0)
            except self._lv.libvirtError as error:
                # it may have ended by itself meanwhile
                if error.get_error_code() not in (self._lv.VIR_ERR_NO_DOMAIN, self._lv.VIR_ERR_OPERATION_INVALID):
                    raise
                return False
            return True

        return self._call(f"destroy {uuid}", work, 30.0)

    def versions(self) -> Versions:
        def work(connection: Any) -> Versions:
            cpu = ET.fromstring(connection.getCapabilities()).find("host/cpu")  # noqa: S314 - libvirt wrote it
            features = "" if cpu is None else " ".join(sorted(f.get("name", "") for f in cpu.iterfind("feature")))
            names = [] if cpu is None else [cpu.findtext("vendor", ""), cpu.findtext("model", "")]
            return Versions(
                _version(connection.getVersion()),
                _version(connection.getLibVersion()),
                " ".join([*names, hashlib.sha256(features.encode()).hexdigest()[:16]]),
            )

        return self._call("versions", work)

    def cpu_seconds(self, uuid: str) -> float:
        return self._call(
            f"processor time of {uuid}",
            lambda connection: float(connection.lookupByUUIDString(uuid).info()[4]) / 1e9,
        )

    def save(self, uuid: str, path: str) -> None:
        def work(connection: Any) -> None:
            domain = self._lookup(connection, uuid)
            if domain is None:
                savefile.read(path)
            else:
                domain.save(path)

        self._call(f"save {uuid}", work, SAVE_S)

    def restore(self, path: str, domain: Domain) -> None:
        def work(connection: Any) -> None:
            if self._lookup(connection, domain.uuid) is None:
                saved = savefile.read(path)
                fifo = f"{domain.disks[0].path}.restore"
                with savefile.offered(saved, renamed(saved.xml, domain), fifo):
                    connection.restoreFlags(fifo, None, self._lv.VIR_DOMAIN_SAVE_RUNNING)

        self._call(f"restore {domain.name}", work, START_S)

    def attach(self, uuid: str, device: Union[Interface, Filesystem]) -> None:
        def work(connection: Any) -> None:
            domain = connection.lookupByUUIDString(uuid)
            if not has_device(domain.XMLDesc(0), device):
                if isinstance(device, Filesystem):
                    self._expect_group(domain)
                domain.attachDeviceFlags(device_xml(device), self._lv.VIR_DOMAIN_AFFECT_LIVE)

        self._call(f"attach {device} to {uuid}", work, START_S)

    def _expect_group(self, domain: Any) -> None:
        """Raise VirtError where a file system can't be plugged in: without a control group libvirt 9.0 dies of it."""
        try:
            domain.getCPUStats(True)
        except self._lv.libvirtError as error:
            raise VirtError(
                object=f"domain {domain.name()}",
                reason=f"libvirt gave it no control group, and would not survive a file system: {error}",
                hint="libvirtd needs a cgroup tree with controllers; or do without templates: template_cache_mib: 0",
            ) from None

    def agent(self, uuid: str, command: str, arguments: Dict[str, Any], timeout_s: float) -> Any:
        # it has no types
        import libvirt_qemu  # type: ignore[import-untyped]

        text = json.dumps({"execute": command, "arguments": arguments} if arguments else {"execute": command})
        limit = max(1, round(timeout_s))

        def work(connection: Any) -> Any:
            domain = self._lookup(connection, uuid)
            if domain is None:
                raise VirtError(object=f"domain {uuid}", reason="is gone")
            return json.loads(libvirt_qemu.qemuAgentCommand(domain, text, limit, 0))["return"]

        # libvirt gives the agent up by itself, at the limit that the caller has stretched
        return self._call(f"agent {command} in {uuid}", work, deadline_s=limit + 5.0 * self._stretch())

    def subscribe(self, listener: HostListener) -> None:
        self._listeners.append(listener)

    def close(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            # closing talks to the daemon, which may hang
            threading.Thread(target=self._let_go, args=(connection,), daemon=True).start()

    def _let_go(self, connection: Any) -> None:
        """Close a connection; its callbacks would keep it (and what it has open) otherwise."""
        for callback in self._callbacks:
            self._quietly(partial(connection.domainEventDeregisterAny, callback))
        self._quietly(connection.close)

    def _lookup(self, connection: Any, uuid: str) -> Any:
        try:
            return connection.lookupByUUIDString(uuid)
        except self._lv.libvirtError as error:
            if error.get_error_code() == self._lv.VIR_ERR_NO_DOMAIN:
                return None
            raise

    def _found(self, domain: Any) -> Optional[FoundDomain]:
        """Return the facts; None where the domain went away while we looked."""
        try:
            active = bool(domain.isActive())
            try:
                text = domain.metadata(self._lv.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE, 0)
            except self._lv.libvirtError as error:
                if error.get_error_code() != self._lv.VIR_ERR_NO_DOMAIN_METADATA:
                    raise
                text = ""
            ours = read_metadata(text) if text else None
            return FoundDomain(domain.UUIDString(), domain.name(), active, ours, self._stalled(domain) if ours else "")
        except self._lv.libvirtError as error:
            if error.get_error_code() == self._lv.VIR_ERR_NO_DOMAIN:
                return None
            raise

    def _stalled(self, domain: Any) -> str:
        """Return why QEMU has stopped a guest that was not stopped by anybody."""
        if domain.state() != [self._lv.VIR_DOMAIN_PAUSED, self._lv.VIR_DOMAIN_PAUSED_IOERROR]:
            return ""
        words = {self._lv.VIR_DOMAIN_DISK_ERROR_NO_SPACE: "no space is left for it on the node's disk"}
        found = domain.diskErrors()
        return (
            "; ".join(
                f"disk {name}: {words.get(code, 'it could not be read or written')}" for name, code in found.items()
            )
            or "a disk could not be read or written"
        )

    def _connected(self) -> Any:
        """Return a live connection; runs in a call's own thread, since opening can hang too."""
        with self._lock:
            if self._connection is not None and self._connection.isAlive():
                return self._connection
            dead, self._connection = self._connection, None
            if dead is not None:
                self._let_go(dead)
            connection = self._lv.open(self._uri)
            wanted = {
                self._lv.VIR_DOMAIN_EVENT_ID_LIFECYCLE: self._lifecycle,
                self._lv.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE: self._agent_lifecycle,
            }
            self._callbacks = [connection.domainEventRegisterAny(None, *item, None) for item in wanted.items()]
            self._quietly(lambda: connection.setKeepAlive(*KEEPALIVE))
            self._connection = connection
        log.info("connected to libvirt at %s", self._uri)
        self._tell(HostEvent("connected", ""))
        return connection

    def _call(self, what: str, work: Callable[[Any], T], timeout_s: float = 0.0, deadline_s: float = 0.0) -> T:
        """Return ``work(connection)``, done in a thread of its own that is left behind when it hangs.

        :param timeout_s: limit on a free machine; ``deadline_s``: just this one
        """
        limit = deadline_s or (timeout_s or self._timeout_s) * self._stretch()
        name = f"libvirt at {self._uri}"
        if not self._slots.acquire(blocking=False):
            raise UnavailableError(object=name, value=what, reason=f"{MAX_CALLS} calls hang already")
        outcome: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                outcome.set_result(work(self._connected()))
            except BaseException as error:  # it is raised where the caller waits
                outcome.set_exception(error)
            finally:
                self._slots.release()

        threading.Thread(target=run, name=f"libvirt-{what}", daemon=True).start()
        try:
            return outcome.result(limit)
        except concurrent.futures.TimeoutError:
            raise UnavailableError(object=name, value=what, reason=f"did not answer within {limit:.3g} s") from None
        except self._lv.libvirtError as error:
            raise self._translated(what, error) from None

    def _translated(self, what: str, error: Any) -> WnodesError:
        reason = str(error)
        if error.get_error_code() == self._lv.VIR_ERR_NO_DOMAIN:
            return NotFoundError(object=what, reason=reason)
        connection = self._connection
        broken = error.get_error_domain() in (self._lv.VIR_FROM_RPC, self._lv.VIR_FROM_REMOTE)
        if broken or connection is None or not connection.isAlive():
            return UnavailableError(object=f"libvirt at {self._uri}", value=what, reason=reason)
        return VirtError(object=what, reason=reason)

    @staticmethod
    def _quietly(work: Callable[[], Any]) -> None:
        try:
            work()
        except Exception as error:
            log.debug("libvirt: %s", error)

    def _lifecycle(self, _connection: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
        lv = self._lv
        stalled = (event, detail) == (lv.VIR_DOMAIN_EVENT_SUSPENDED, lv.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR)
        if stalled or event in (lv.VIR_DOMAIN_EVENT_STOPPED, lv.VIR_DOMAIN_EVENT_CRASHED):
            self._tell(HostEvent("stopped", domain.UUIDString()))

    def _agent_lifecycle(self, _connection: Any, domain: Any, state: int, _reason: int, _opaque: Any) -> None:
        if state == self._lv.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED:
            self._tell(HostEvent("agent", domain.UUIDString()))

    def _tell(self, event: HostEvent) -> None:
        for listener in self._listeners:
            listener(event)
