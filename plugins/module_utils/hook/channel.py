# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guest side of the virtio-serial port: one frame out, its acknowledgement back.

The port opens once, so a second process waits for the first. What is said here is a hint that makes things fast;
nobody waits longer than the limit for it.
"""

from __future__ import annotations

import errno
import os
import select
import time

TYPE_CHECKING = False  # see main.py
if TYPE_CHECKING:
    from typing import Dict

LIMIT_S = 2.0
BUSY_PAUSE_S = 0.02


def tell(port: str, event: str, data: Dict[str, str], limit_s: float = LIMIT_S) -> bool:
    """Send one frame; return whether it was acknowledged within ``limit_s`` seconds.

    :param data: plain words; a value with anything but ASCII letters, digits and ``_`` is left out
    """
    deadline = time.monotonic() + limit_s
    sequence = time.time_ns()
    frame = _frame(sequence, event, data)
    try:
        descriptor = _open(port, deadline)
        try:
            return _exchange(descriptor, frame, sequence, deadline)
        finally:
            os.close(descriptor)
    except OSError:
        return False


def _frame(sequence: int, event: str, data: Dict[str, str]) -> bytes:
    """Return the frame as a JSON line; the json module alone would cost a slow guest a quarter of a second."""
    plain = {key: value for key, value in data.items() if value.isascii() and value.replace("_", "a").isalnum()}
    pairs = ", ".join(f'"{key}": "{value}"' for key, value in plain.items())
    return f'{{"seq": {sequence}, "event": "{event}", "data": {{{pairs}}}}}\n'.encode("ascii")


def _open(port: str, deadline: float) -> int:
    while True:
        try:
            return os.open(port, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() >= deadline:
                raise
        time.sleep(BUSY_PAUSE_S)


def _exchange(descriptor: int, frame: bytes, sequence: int, deadline: float) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLOUT | select.POLLIN)
    received = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        for _descriptor, ready in poller.poll(left * 1000):
            if frame and ready & select.POLLOUT:
                frame = frame[os.write(descriptor, frame) :]
                if not frame:
                    poller.modify(descriptor, select.POLLIN)
            if ready & select.POLLIN:
                received = (received + os.read(descriptor, 4096))[-8192:]
                if _acknowledged(received, sequence):
                    return True
            elif ready & select.POLLHUP:  # the host side is not connected (yet)
                time.sleep(BUSY_PAUSE_S)


def _acknowledged(received: bytes, sequence: int) -> bool:
    wanted = f'{{"ack":{sequence}}}'.encode("ascii")
    return any(line.replace(b" ", b"") == wanted for line in received.split(b"\n")[:-1])
