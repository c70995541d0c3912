# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's end of the VMs' virtio-serial ports: one thread for all, and nothing a guest sends can hurt it.

A frame is one line of JSON, at most 4096 bytes: ``{"seq": n, "event": "…", "data": {"…": "…"}}``; each is answered by
``{"ack": n}``. The guest repeats a frame until it is acknowledged, so a frame may come twice: it is delivered once.
"""

from __future__ import annotations

import collections
import json
import logging
import re
import selectors
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Deque, Dict, List, Optional, Set, Tuple

from ..model.codec import encode

log = logging.getLogger(__name__)

MAX_FRAME = 4096
MAX_KEYS = 32
#: a frame is known again for so many frames
REMEMBERED = 256
#: a guest that sends more than this many bytes within a second is not listened to for the rest of it
BYTES_PER_S = 256 * 1024
#: and so many frames
FRAMES_PER_S = 50
#: seconds between two attempts to connect, first and longest
RETRY_S = (0.2, 2.0)

_EVENT = re.compile(r"[a-z][a-z0-9_-]{0,31}\Z")


@dataclass(frozen=True)
class Frame:
    """What a process in a guest said."""

    seq: int
    event: str
    data: Dict[str, str] = field(default_factory=dict)


def parse_frame(line: bytes) -> Optional[Frame]:
    """Return the frame in ``line`` (without its line feed), or None for anything that is not exactly one."""
    try:
        value = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not set(value) <= {"seq", "event", "data"}:
        return None
    seq, event, data = value.get("seq"), value.get("event"), value.get("data", {})
    if not isinstance(seq, int) or isinstance(seq, bool) or not 0 <= seq < 2**64:
        return None
    if not isinstance(event, str) or not _EVENT.match(event):
        return None
    if not isinstance(data, dict) or len(data) > MAX_KEYS or not all(isinstance(text, str) for text in data.values()):
        return None
    if encode(data) != data:  # a lone surrogate is no text, and who is told of it could not pass it on
        return None
    return Frame(seq, event, data)


class FrameReader:
    """Cuts a stream of bytes into frames; garbage and lines over the limit are skipped up to the next line feed."""

    def __init__(self) -> None:
        self._buffer = b""
        self._skipping = False

    def feed(self, data: bytes) -> List[Frame]:
        """Return the frames that ``data`` completes; never holds more than one frame's length back."""
        frames = []
        *lines, rest = (self._buffer + data).split(b"\n")
        for line in lines:
            frame = None if self._skipping or len(line) >= MAX_FRAME else parse_frame(line)
            self._skipping = False
            if frame is not None:
                frames.append(frame)
        if len(rest) >= MAX_FRAME:
            self._skipping, rest = True, b""
        self._buffer = rest
        return frames


class Port:
    """One VM's port: its bytes in, its acknowledgements out, its limits. Free of sockets."""

    def __init__(self) -> None:
        self._reader = FrameReader()
        self._seen: Set[int] = set()
        self._order: Deque[int] = collections.deque()
        self._window, self._bytes, self._frames = 0.0, 0, 0

    def restarted(self) -> None:
        """Forget a half frame: the connection was made anew."""
        self._reader = FrameReader()

    def feed(self, data: bytes, now: float) -> Tuple[List[Frame], bytes]:
        """Return the new frames in ``data`` and the bytes to answer with.

        Frames over the rate limit are neither delivered nor acknowledged: an honest sender repeats them.
        """
        if now - self._window >= 1.0:
            self._window, self._bytes, self._frames = now, 0, 0
        self._bytes += len(data)
        fresh, answer = [], b""
        for frame in self._reader.feed(data):
            self._frames += 1
            if self._frames > FRAMES_PER_S:
                break
            answer += b'{"ack":%d}\n' % frame.seq
            if self._remember(frame.seq):
                fresh.append(frame)
        return fresh, answer

    def muted_for(self, now: float) -> float:
        """Return for how many seconds not to listen to this guest."""
        if self._bytes <= BYTES_PER_S and self._frames <= FRAMES_PER_S:
            return 0.0
        return max(0.0, self._window + 1.0 - now)

    def _remember(self, seq: int) -> bool:
        if seq in self._seen:
            return False
        self._seen.add(seq)
        self._order.append(seq)
        if len(self._order) > REMEMBERED:
            self._seen.discard(self._order.popleft())
        return True


Deliver = Callable[[str, Frame], None]


def connect(path: str) -> socket.socket:
    """Return a non-blocking connection to the Unix socket ``path``; OSError where there is none."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


@dataclass
class _Link:
    path: str
    port: Port = field(default_factory=Port)
    connection: Optional[socket.socket] = None
    #: when to connect or to listen again
    due: float = 0.0
    retry: float = RETRY_S[0]
    listening: bool = False


class ChannelHub:
    """Listens to the ports of all VMs of a hypervisor.

    :param deliver: called from the hub's thread with the VM's id and each new frame; it must return at once
    :param connect: makes the connection to a port's socket
    """

    def __init__(self, deliver: Deliver, connect: Callable[[str], socket.socket] = connect) -> None:
        self._deliver, self._connect = deliver, connect
        self._lock = threading.Lock()
        self._links: Dict[str, _Link] = {}
        self._gone: List[_Link] = []
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector.register(self._wake_out, selectors.EVENT_READ, None)
        self._thread: Optional[threading.Thread] = None
        self._stopping = threading.Event()

    def add(self, vm_id: str, path: str) -> None:
        """Listen to ``vm_id``'s port at the Unix socket ``path`` from now on, once it is there."""
        with self._lock:
            if vm_id not in self._links:
                self._links[vm_id] = _Link(path)
        self._wake()

    def remove(self, vm_id: str) -> None:
        """Listen to ``vm_id`` no more."""
        with self._lock:
            link = self._links.pop(vm_id, None)
            if link is not None:
                self._gone.append(link)
        self._wake()

    def start(self) -> None:
        """Start the hub's thread."""
        self._thread = threading.Thread(target=self._loop, name="wnodes-channel", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close all connections."""
        self._stopping.set()
        self._wake()
        if self._thread is not None:
            self._thread.join(5.0)
        for link in [*self._links.values(), *self._gone]:
            self._drop(link)
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()

    def _wake(self) -> None:
        try:
            self._wake_in.send(b"\0")
        except OSError:
            pass  # full: it is awake anyway

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                self.turn(self._timeout())
            except Exception:  # a word of a guest may be lost then, and no more than that
                log.exception("guests' channels failed; they go on")
                self._stopping.wait(RETRY_S[1])

    def _timeout(self) -> Optional[float]:
        with self._lock:
            waiting = [link.due for link in self._links.values() if not link.listening]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else None

    def turn(self, timeout: Optional[float]) -> None:
        """Do what is due and whatever comes in within ``timeout`` seconds; the hub's thread calls nothing else."""
        now = time.monotonic()
        with self._lock:
            gone, self._gone = self._gone, []
            links = dict(self._links)
        for link in gone:
            self._drop(link)
        for vm_id, link in links.items():
            if not link.listening and link.due <= now:
                self._listen(vm_id, link, now)
        for key, _events in self._selector.select(timeout):
            if key.data is None:
                self._drain()
            else:
                self._read(*key.data)

    def _drain(self) -> None:
        try:
            self._wake_out.recv(4096)
        except OSError:
            pass

    def _listen(self, vm_id: str, link: _Link, now: float) -> None:
        if link.connection is None:
            try:
                link.connection = self._connect(link.path)
            except OSError:
                link.due, link.retry = now + link.retry, min(link.retry * 2, RETRY_S[1])
                return
            link.retry = RETRY_S[0]
            link.port.restarted()
        self._selector.register(link.connection, selectors.EVENT_READ, (vm_id, link))
        link.listening = True

    def _read(self, vm_id: str, link: _Link) -> None:
        connection: Any = link.connection
        if connection is None:
            return
        try:
            data = connection.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        now = time.monotonic()
        if not data:
            self._drop(link)
            link.due = now + link.retry
            return
        frames, answer = link.port.feed(data, now)
        for frame in frames:
            self._deliver(vm_id, frame)
        self._answer(connection, answer)
        muted = link.port.muted_for(now)
        if muted:
            self._selector.unregister(connection)
            link.listening, link.due = False, now + muted

    @staticmethod
    def _answer(connection: socket.socket, answer: bytes) -> None:
        try:
            if answer:
                connection.send(answer)
        except OSError:
            pass  # a guest that does not read its acknowledgements repeats its frames

    def _drop(self, link: _Link) -> None:
        if link.connection is not None:
            if link.listening:
                self._selector.unregister(link.connection)
            link.connection.close()
        link.connection, link.listening = None, False
