# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hook asks: it gets an answer, or an empty one within its limit; nothing else can come of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wnodes.hook.socketcall import ask

Server = Callable[[socket.socket], None]


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as there:
        there.bind(str(tmp_path / "hook.sock"))
        there.listen(8)
        yield there


def serve(listener: socket.socket, *replies: bytes) -> threading.Thread:
    """Answer one connection after the other with the replies; an empty one hangs up."""

    def work() -> None:
        for reply in replies:
            connection, _peer = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(reply)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_one_question_one_answer(listener: socket.socket) -> None:
    thread = serve(listener, b'{"action": "run"}\n')
    assert ask(listener.getsockname(), {"event": "prolog"}, 20) == {"action": "run"}
    thread.join(30)


def test_a_bait_that_restarts_is_asked_again(listener: socket.socket) -> None:
    thread = serve(listener, b"", b'{"act', b'["not", "ours"]\n', b'{"action": "stopped"}\n')
    assert ask(listener.getsockname(), {}, 30) == {"action": "stopped"}
    thread.join(30)


def test_a_silent_bait_costs_no_more_than_the_limit(listener: socket.socket) -> None:
    begin = time.monotonic()
    assert ask(listener.getsockname(), {}, 0.3) == {}
    assert time.monotonic() - begin < 10


def test_no_socket_is_told_at_once(tmp_path: Path) -> None:
    begin = time.monotonic()
    assert ask(str(tmp_path / "none.sock"), {}, 60) == {}
    assert time.monotonic() - begin < 10
