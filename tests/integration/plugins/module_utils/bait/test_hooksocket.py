# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hook and bait over a real socket: what is asked arrives, and what is no question does no harm."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from wnodes.bait.hooksocket import HookSocket
from wnodes.engine.pulse import Pulse
from wnodes.hook.socketcall import ask
from wnodes.model.errors import LrmsError
from wnodes.model.job import Answer, Dispatch

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the bait hears root only")


class Bait:
    """Remembers what it was asked; ``answer`` may be an error."""

    def __init__(self) -> None:
        self.asked: list[Dispatch] = []
        self.answer: Answer | Exception | None = Answer("stopped", "a VM boots")

    def dispatch(self, dispatch: Dispatch) -> Answer | None:
        self.asked.append(dispatch)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def bait() -> Bait:
    return Bait()


class Listener(socket.socket):
    """A listening socket whose next ``accept`` may fail."""

    failures: list[Exception]
    failed = threading.Event()

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            if len(self.failures) == 1:
                self.failed.set()
            raise self.failures.pop()
        return super().accept()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    with Listener(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.failures, made.failed = [], threading.Event()
        made.bind(str(tmp_path / "hook.sock"))
        made.listen(128)
        yield made


@pytest.fixture
def hooks(bait: Bait, listener: Listener) -> Iterator[HookSocket]:
    stop, pulse = threading.Event(), Pulse()
    made = HookSocket(listener, bait.dispatch, pulse.loop("hook", 30.0))
    server = threading.Thread(target=made.serve, args=(stop,))
    server.start()
    yield made
    assert pulse.problems() == ()
    stop.set()
    server.join(30)
    assert not server.is_alive()


@pytest.fixture
def path(hooks: HookSocket, listener: Listener) -> str:
    return str(listener.getsockname())


def question(**more: object) -> dict[str, Any]:
    return {"event": "prolog", "job_id": "42", "environment": {}, **more}


def test_a_question_is_answered(bait: Bait, path: str) -> None:
    hostile = {"SLURM_JOB_NAME": '$(touch /canary)\n"; `id`', "SLURM_JOB_COMMENT": "grüße \udcff \x00"}
    assert ask(path, question(environment=hostile), 20) == {"action": "stopped", "reason": "a VM boots"}
    assert bait.asked == [Dispatch("prolog", "42", hostile)]


def test_hooks_do_not_wait_for_each_other(bait: Bait, path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.connect(path)
        silent.sendall(b'{"event"')
        assert ask(path, question(), 20)["action"] == "stopped"


@pytest.mark.parametrize("answer", [None, LrmsError(object="slurmctld", reason="down"), RuntimeError("bug")])
def test_no_decision_is_no_answer_and_the_next_hook_is_heard(bait: Bait, path: str, answer: Exception | None) -> None:
    bait.answer = answer
    assert ask(path, question(), 0.2) == {}
    bait.answer = Answer("run")
    assert ask(path, question(), 20) == {"action": "run", "reason": ""}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"no json\n", id="no json"),
        pytest.param(b"[]\n", id="no object"),
        pytest.param(b'{"environment": []}\n', id="no environment"),
        pytest.param(b"\xff\xfe\n", id="no text"),
        pytest.param(b"x" * 200_000, id="endless"),
    ],
)
def test_what_is_no_question_is_dropped(bait: Bait, path: str, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(30)
        caller.connect(path)
        try:
            caller.sendall(line)
            assert caller.recv(1) == b""
        except (BrokenPipeError, ConnectionResetError):
            pass  # closed before all of it was read
    assert bait.asked == []
    assert ask(path, question(), 20)["action"] == "stopped"


def test_answers_are_counted_by_what_they_were(bait: Bait, path: str, hooks: HookSocket) -> None:
    for answer, count in ((Answer("run"), 3), (Answer("stopped"), 2), (None, 1)):
        bait.answer = answer
        for _ in range(count):
            ask(path, question(), 20 if answer else 0.2)
    # the last answer is counted after it was sent
    assert poll(lambda: hooks.answers == {"run": 3, "stopped": 2, "none": 1}), hooks.answers


def poll(reached: Callable[[], bool], limit_s: float = 10.0) -> bool:
    end = time.monotonic() + limit_s
    while not reached() and time.monotonic() < end:
        threading.Event().wait(0.01)
    return reached()


@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, "Too many open files"), ConnectionAbortedError(), RuntimeError("bug")]
)
def test_whatever_accept_raises_the_next_hook_is_heard(path: str, listener: Listener, error: Exception) -> None:
    listener.failures += [error, error]
    assert listener.failed.wait(20)
    assert ask(path, question(), 20)["action"] == "stopped"


def test_when_no_thread_can_be_started_the_hook_asks_again(
    path: str, monkeypatch: pytest.MonkeyPatch, hooks: HookSocket
) -> None:
    begin, left = threading.Thread.start, [1]

    def start(self: threading.Thread) -> None:
        if self.name == "hook" and left:
            raise RuntimeError(f"can't start new thread {left.pop()}")
        begin(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    assert ask(path, question(), 20)["action"] == "stopped"
    assert left == []


def test_more_hooks_than_are_answered_at_once_wait_for_their_turn(listener: Listener) -> None:
    most, inside, go_on, full = 0, 0, threading.Event(), threading.Event()
    lock, path = threading.Lock(), str(listener.getsockname())

    def decide(_dispatch: Dispatch) -> Answer:
        nonlocal most, inside
        with lock:
            inside += 1
            most = max(most, inside)
            if inside == 4:
                full.set()
        go_on.wait(20)
        with lock:
            inside -= 1
        return Answer("run")

    stop = threading.Event()
    server = threading.Thread(target=HookSocket(listener, decide, at_once=4).serve, args=(stop,))
    server.start()
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(ask, path, question(), 20) for _ in range(12)]
        assert full.wait(20)
        go_on.set()
        assert [one.result()["action"] for one in asked] == ["run"] * 12
    stop.set()
    server.join(20)
    assert most == 4
