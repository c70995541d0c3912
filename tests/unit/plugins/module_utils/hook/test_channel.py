# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guest side of the virtio-serial port, with a socket pair for a port."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from wnodes.hook import channel


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    mine, guests = socket.socketpair()
    mine.settimeout(5)
    guests.setblocking(False)
    monkeypatch.setattr(channel, "_open", lambda _port, _deadline: os.dup(guests.fileno()))
    with mine, guests:
        yield mine


def answer(host: socket.socket, lines: list[str]) -> list[dict[str, object]]:
    """Play the hypervisor in a thread: read one frame, send ``lines`` (``%d`` is the frame's number)."""
    heard: list[dict[str, object]] = []

    def play() -> None:
        heard.append(json.loads(host.makefile("rb").readline()))
        for line in lines:
            host.sendall((line.replace("%d", str(heard[0]["seq"])) + "\n").encode())

    threading.Thread(target=play, daemon=True).start()
    return heard


@pytest.mark.parametrize("ack", ['{"ack":%d}', '{"ack": %d}'])
def test_an_acknowledged_frame_is_told(host: socket.socket, ack: str) -> None:
    heard = answer(host, ["garbage", '{"ack":1}', ack])
    assert channel.tell("port", "start", {"job": "7_1"}, 5) is True
    assert (heard[0]["event"], heard[0]["data"]) == ("start", {"job": "7_1"})


def test_without_an_acknowledgement_nobody_waits_longer_than_the_limit(host: socket.socket) -> None:
    answer(host, ['{"ack":1}'])
    assert channel.tell("port", "end", {}, 0.05) is False


def test_what_is_no_plain_word_is_left_out(host: socket.socket) -> None:
    heard = answer(host, ['{"ack":%d}'])
    assert channel.tell("port", "start", {"job": '7", "x": "y', "node": "a\nb"}, 5) is True
    assert heard[0]["data"] == {}


def test_a_port_that_is_not_there_is_no_error() -> None:
    assert channel.tell("/nonexistent/port", "start", {}, 0.05) is False
