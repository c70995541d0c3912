# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd gives and wants."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import pytest

from wnodes_services import systemd


class Channel:
    sent: list[tuple[bytes, str]] = []

    def __init__(self, *args: Any) -> None:
        pass

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *args: Any) -> None:
        pass

    def sendto(self, data: bytes, address: str) -> None:
        self.sent.append((data, address))


@pytest.mark.parametrize(("address", "real"), [("/run/notify", "/run/notify"), ("@abstract", "\0abstract")])
def test_notify(monkeypatch: pytest.MonkeyPatch, address: str, real: str) -> None:
    monkeypatch.setattr(Channel, "sent", [])
    monkeypatch.setattr(systemd.socket, "socket", Channel)
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    systemd.notify("READY=1", "STATUS=well")
    assert Channel.sent == [(b"READY=1\nSTATUS=well", real)]


def test_without_systemd_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    systemd.notify("READY=1")
    assert systemd.watchdog_s() is None


def test_the_watchdog_is_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert systemd.watchdog_s() == 30.0


def test_sockets_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd.socket, "socket", lambda fileno: fileno)
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setenv("LISTEN_FDNAMES", "other:hook")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    assert systemd.activated("hook") == 4
    assert systemd.activated("none") is None
    monkeypatch.setenv("LISTEN_PID", "1")
    assert systemd.activated("hook") is None


def line(level: int, message: str, **extra: Any) -> str:
    record = logging.makeLogRecord({"name": "wnodes.x", "levelno": level, "msg": message, **extra})
    return systemd.JournalFormatter().format(record)


def test_a_log_line_carries_priority_and_fields() -> None:
    assert line(logging.INFO, "up", vm="a", job="7", other="no") == "<6>wnodes.x: up job=7 vm=a"
    assert line(logging.WARNING, "odd", image="") == "<4>wnodes.x: odd"
    assert line(logging.DEBUG, "x") == "<7>wnodes.x: x"


def test_every_line_of_a_traceback_carries_the_priority() -> None:
    try:
        raise ValueError("bad")
    except ValueError:
        text = line(logging.ERROR, "failed", exc_info=sys.exc_info())
    assert text.count("\n") >= 3
    assert all(part.startswith("<3>") for part in text.splitlines())
