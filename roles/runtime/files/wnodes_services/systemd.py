# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd gives a service and wants from it: sockets, readiness, a sign of life, logs with priority."""

from __future__ import annotations

import contextlib
import logging
import os
import socket

_FIRST_FD = 3
#: fields that a log call may add with ``extra=`` and that stand at the end of its line
_FIELDS = ("job", "vm", "image")


def notify(*lines: str) -> None:
    """Tell systemd, e.g. ``READY=1``; nothing happens where it did not start us."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    # One word lost while systemd itself restarts must not end us; the next one comes.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel, contextlib.suppress(OSError):
        channel.sendto("\n".join(lines).encode(), "\0" + address[1:] if address.startswith("@") else address)


def watchdog_s() -> float | None:
    """Return how often systemd wants a sign of life at the latest, in seconds."""
    microseconds = os.environ.get("WATCHDOG_USEC")
    return int(microseconds) / 1e6 if microseconds else None


def activated(name: str) -> socket.socket | None:
    """Return the listening socket that systemd holds for us under ``name`` (`FileDescriptorName=`), or None."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    for index in range(int(os.environ.get("LISTEN_FDS", "0"))):
        if index < len(names) and names[index] == name:
            return socket.socket(fileno=_FIRST_FD + index)
    return None


class JournalFormatter(logging.Formatter):
    """One line a record: syslog priority for the journal, logger, message, fields."""

    _priorities = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.NOTSET, 7))

    def format(self, record: logging.LogRecord) -> str:
        priority = next(number for level, number in self._priorities if record.levelno >= level)
        fields = "".join(f" {key}={record.__dict__[key]}" for key in _FIELDS if record.__dict__.get(key))
        text = record.getMessage() + fields
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        # systemd reads the priority at the start of every line.
        return "\n".join(f"<{priority}>{line}" for line in f"{record.name}: {text}".splitlines())


def log_to_journal(level: str = "INFO") -> None:
    """Send all logs to standard error, which systemd sends to the journal."""
    handler = logging.StreamHandler()
    handler.setFormatter(JournalFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(noisy).setLevel("WARNING")
