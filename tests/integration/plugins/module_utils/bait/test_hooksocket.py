# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hook and bait over a real socket: what is asked arrives, and what is no question does no harm."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wnodes.bait import hooksocket
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


@pytest.fixture
def path(bait: Any, tmp_path: Path) -> Iterator[str]:
    address = str(tmp_path / "hook.sock")
    stop = threading.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(address)
        listener.listen(8)
        server = threading.Thread(target=hooksocket.serve, args=(listener, bait, stop))
        server.start()
        yield address
        stop.set()
        server.join(30)
    assert not server.is_alive()


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
