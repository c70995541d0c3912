# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Receives the VMs' syslog over UDP and TCP: one thread for all, and nothing a guest sends can hurt it or other guests.

The sender is known by its source address, which must be that of a VM's lease. Each VM has a datagram socket of its own,
connected to its address: its flood fills that one's queue only, and can be left unread.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import selectors
import socket
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Callable, Dict, List, Mapping, Optional

from ..journald import Journald
from ..model.vm import Vm
from .registry import usual_notation
from .syslog_intake import Intake
from .syslog_text import MAX_MESSAGE, Framing, Stream

log = logging.getLogger(__name__)

#: seconds; also how long a VM that sends too much is left unread
TICK_S = 1.0
#: seconds after which journald is tried again when it took no more
BUSY_S = 0.02
#: bytes of one VM in a tick; a connection and a datagram count as MAX_MESSAGE and 256 at the least
BYTES_PER_TICK = 256 << 10
#: connections of one VM (the one that was silent longest makes way) and of all
MAX_LINKS, MAX_ALL_LINKS = 4, 256
#: strangers' datagrams and new connections of all in a tick
STRANGE_PER_TICK = 1000
#: datagrams or connections in a row, then it is the next socket's turn
IN_A_ROW = 32
READ_BYTES = 32 << 10
#: seconds between two attempts to bind, first and longest
RETRY_S = (1.0, 30.0)
#: a peer that is gone without a word is noticed after two minutes; one that has nothing to say is left alone
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 20), (socket.TCP_KEEPCNT, 3))


@dataclass
class _Link:
    connection: socket.socket
    stream: Stream = field(default_factory=Stream)
    used: float = 0.0


@dataclass
class _Guest:
    vm_id: str
    address: str
    datagrams: Optional[socket.socket] = None
    links: List[_Link] = field(default_factory=list)
    bytes: int = 0
    muted: bool = False


class SyslogReceiver:
    """See the module. ``start`` makes it work by a thread; tests call ``turn``.

    :param listen: address of this node
    :param port: of both protocols
    :param senders: returns the VMs that may be sending now, by address in its usual notation
    :param journal: where records go
    """

    def __init__(
        self,
        listen: str,
        port: int,
        senders: Callable[[], Mapping[str, Vm]],
        intake: Intake,
        journal: Journald,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listen, self._port, self._senders, self._now = listen, port, senders, now
        self._journal, self._intake = journal, intake
        self._family = socket.AF_INET6 if ipaddress.ip_address(listen).version == 6 else socket.AF_INET
        self._shared: Dict[socket.socket, Callable[[], None]] = {}
        self._guests: Dict[str, _Guest] = {}
        self._strange = 0
        self._ticked, self._due, self._retry_s = now(), now(), RETRY_S[0]
        #: why nothing can be received now; empty while all is well
        self.problem = ""
        self._selector = selectors.DefaultSelector()
        self._stopping = threading.Event()
        self._thread: Optional[threading.Thread] = None

    @property
    def counts(self) -> Dict[str, int]:
        """Messages since the start: ``written``, and those dropped by reason."""
        return dict(self._intake.counts)

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._loop, name="wnodes-syslog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread within a tick and close all sockets."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5 * TICK_S)
        for guest in list(self._guests.values()):
            self._forget(guest)
        for listener in self._shared:
            listener.close()
        self._selector.close()
        self._journal.close()

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                self.turn(BUSY_S if self._journal.waiting else TICK_S)
            except Exception:  # logs are lost then, and no more than logs
                log.exception("syslog receiver failed; it goes on")
                self._stopping.wait(TICK_S)

    def turn(self, timeout: float) -> None:
        """Do what is due and whatever comes in within ``timeout`` seconds; the thread calls nothing else."""
        now = self._now()
        if not self._shared and now >= self._due:
            self._bind(now)
        if now - self._ticked >= TICK_S:
            self._ticked = now
            self._tick()
        for key, _events in self._selector.select(timeout):
            # an earlier one of this round may have closed or muted it, and its descriptor may be another's by now
            if self._selector.get_map().get(key.fd) is key:
                key.data()
        self._journal.flush()

    # sockets

    def _socket(self, kind: int) -> socket.socket:
        made = socket.socket(self._family, kind)
        try:
            made.setblocking(False)
            option = socket.SO_REUSEADDR if kind == socket.SOCK_STREAM else socket.SO_REUSEPORT
            made.setsockopt(socket.SOL_SOCKET, option, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * READ_BYTES)
            made.bind((self._listen, self._port))
        except OSError:
            made.close()
            raise
        return made

    def _bind(self, now: float) -> None:
        opened: Dict[socket.socket, Callable[[], None]] = {}
        try:
            listener = self._socket(socket.SOCK_STREAM)
            opened[listener] = partial(self._accept, listener)
            listener.listen(128)
            datagrams = self._socket(socket.SOCK_DGRAM)
            opened[datagrams] = partial(self._hear, datagrams)
        except OSError as error:
            for half in opened:
                half.close()
            problem = f"syslog: can't listen on {self._listen} port {self._port}: {error.strerror}; it is tried again"
            if problem != self.problem:
                log.warning("%s", problem)
            self.problem = problem
            self._due, self._retry_s = now + self._retry_s, min(2 * self._retry_s, RETRY_S[1])
            return
        self._shared, self.problem = opened, ""
        log.info("syslog: listening on %s port %d", self._listen, self._port)
        for shared, handler in opened.items():
            self._selector.register(shared, selectors.EVENT_READ, handler)

    def _tick(self) -> None:
        for guest in list(self._guests.values()):
            if self._vm(guest) is None:
                self._forget(guest)
                continue
            guest.bytes = 0
            if guest.muted:
                guest.muted = False
                self._hear_again(guest)
        for address in self._senders() if self._shared else ():
            self._hear_alone(address)
        self._strange = 0
        for shared, handler in self._shared.items():
            if shared.fileno() not in self._selector.get_map():
                self._selector.register(shared, selectors.EVENT_READ, handler)
        self._intake.report()

    # who sends

    def _guest(self, host: str) -> Optional[_Guest]:
        """Return the guest at ``host``, or None for a stranger."""
        address = usual_notation(host)
        vm = self._senders().get(address)
        if vm is None:
            self._intake.drop("strangers", "unknown")
            return None
        guest = self._guests.get(address)
        if guest is not None and guest.vm_id != vm.id:
            self._forget(guest)
            guest = None
        if guest is None:
            guest = self._guests[address] = _Guest(vm.id, address)
        return guest

    def _took(self, guest: _Guest, count: int) -> None:
        guest.bytes += count
        if guest.bytes >= BYTES_PER_TICK and not guest.muted:
            guest.muted = True
            for each in self._sockets(guest):
                self._ignore(each)

    def _hear_again(self, guest: _Guest) -> None:
        if guest.datagrams is not None:
            self._selector.register(guest.datagrams, selectors.EVENT_READ, partial(self._hear, guest.datagrams))
        for link in guest.links:
            self._selector.register(link.connection, selectors.EVENT_READ, partial(self._read, guest, link))

    @staticmethod
    def _sockets(guest: _Guest) -> List[socket.socket]:
        own = [guest.datagrams] if guest.datagrams is not None else []
        return own + [link.connection for link in guest.links]

    def _take(self, guest: _Guest, messages: List[bytes]) -> None:
        vm = self._vm(guest)
        if vm is None:
            self._forget(guest)
        elif messages:
            self._intake.take(vm, messages)

    def _vm(self, guest: _Guest) -> Optional[Vm]:
        """Return the guest's VM; None where it is gone, though another may have its address by now."""
        vm = self._senders().get(guest.address)
        return vm if vm is not None and vm.id == guest.vm_id else None

    def _forget(self, guest: _Guest) -> None:
        for each in self._sockets(guest):
            self._close(each)
        guest.links, guest.datagrams = [], None
        self._guests.pop(guest.address, None)
        self._intake.forget(guest.vm_id)

    def _ignore(self, one: socket.socket) -> None:
        with contextlib.suppress(KeyError):  # it is ignored already
            self._selector.unregister(one)

    def _close(self, one: socket.socket) -> None:
        self._ignore(one)
        one.close()

    def _too_strange(self, shared: socket.socket) -> bool:
        """Count one more on a shared socket; return whether it is left alone for the rest of the tick."""
        self._strange += 1
        if self._strange < STRANGE_PER_TICK:
            return False
        self._ignore(shared)
        return True

    # datagrams

    def _hear_alone(self, address: str) -> None:
        """Give a guest a datagram socket of its own."""
        guest = self._guest(address)
        if guest is None or guest.datagrams is not None:
            return
        mapped = self._family == socket.AF_INET6 and ":" not in address
        try:
            own = self._socket(socket.SOCK_DGRAM)
            try:
                own.connect((f"::ffff:{address}" if mapped else address, 0))  # whatever port it sends from
            except OSError:
                own.close()
                raise
        except OSError as error:  # it is heard at the shared one, and tried again
            log.debug("syslog: no socket for %s: %s", address, error)
            return
        guest.datagrams = own
        if not guest.muted:
            self._selector.register(own, selectors.EVENT_READ, partial(self._hear, own))

    def _hear(self, datagrams: socket.socket) -> None:
        for _turn in range(IN_A_ROW):
            try:
                data, source = datagrams.recvfrom(MAX_MESSAGE)
            except OSError:  # nothing more
                return
            guest = self._guest(source[0])
            if guest is not None:
                self._take(guest, [data])
                self._took(guest, max(len(data), 256))
            if datagrams in self._shared and self._too_strange(datagrams):
                return
            if guest is not None and guest.muted:
                return

    # connections

    def _accept(self, listener: socket.socket) -> None:
        for _turn in range(IN_A_ROW):
            try:
                connection, source = listener.accept()
            except BlockingIOError:
                return
            except OSError:  # out of descriptors, most likely: not again before the next tick
                self._ignore(listener)
                return
            guest = self._guest(source[0])
            if guest is None:
                connection.close()
            else:
                self._link(guest, connection)
            if self._too_strange(listener):
                return

    def _link(self, guest: _Guest, connection: socket.socket) -> None:
        if sum(len(other.links) for other in self._guests.values()) >= MAX_ALL_LINKS:
            self._intake.drop(guest.address, "connections")
            connection.close()
            return
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        if len(guest.links) >= MAX_LINKS:
            self._unlink(guest, min(guest.links, key=lambda link: link.used))
        link = _Link(connection, used=self._now())
        guest.links.append(link)
        if not guest.muted:
            self._selector.register(connection, selectors.EVENT_READ, partial(self._read, guest, link))
            self._took(guest, MAX_MESSAGE)

    def _unlink(self, guest: _Guest, link: _Link) -> None:
        guest.links.remove(link)
        self._close(link.connection)

    def _read(self, guest: _Guest, link: _Link) -> None:
        try:
            data = link.connection.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        link.used = self._now()
        if not data:
            self._unlink(guest, link)
            self._take(guest, list(filter(None, (link.stream.rest(),))))
            return
        try:
            messages = link.stream.feed(data)
        except Framing:
            self._intake.drop(guest.address, "framing")
            self._unlink(guest, link)
            return
        self._take(guest, messages)
        if guest.address in self._guests:
            self._took(guest, len(data))
