# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of a node who open all the connections they can keep neither hooks nor root nor each other from the bait."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.roles.runtime.files.wnodes_services.test_server import LIMIT_S, ROOT, Pki, Server
from wnodes.bait.client import BaitClient
from wnodes.hook.socketcall import ask
from wnodes.jsonhttp import root_socket

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users")

PROCESS = ROOT / "tests" / "integration" / "node_process.py"
#: what a service may open that nobody has given more
DESCRIPTORS = 1024
#: opens what it can at PATH, again and again until its standard input ends, as USERS users; each says that it has begun
ATTACK = """
import os, resource, select, socket, sys
path, first, users, count = sys.argv[1], *map(int, sys.argv[2:])
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 64, count + 64))
for user in range(users):
    if os.fork() == 0:
        os.setgid(first + user); os.setuid(first + user)
        held, said = [], False
        while not select.select([0], [], [], 0.2)[0]:
            while len(held) < count:
                one = socket.socket(socket.AF_UNIX)
                one.settimeout(5)
                try:
                    one.connect(path)
                    one.send(b"GET /v1/status HTTP/1.1\\r\\n")
                except OSError:
                    pass
                held.append(one)
            if not said:
                os.write(1, b"begun\\n")
                said = True
            for one in held:
                one.close()
            held = []
        os._exit(0)
for user in range(users):
    os.wait()
"""


@dataclass
class Node:
    """A bait process with its sockets."""

    folder: Path
    process: subprocess.Popen[bytes]

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def hook(self) -> dict[str, Any]:
        question = {"event": "epilog", "job_id": "42", "environment": {}}
        return ask(str(self.folder / "hook.sock"), question, LIMIT_S)

    def status(self) -> Any:
        with closing(BaitClient.local(str(self.folder / "bait.sock"))) as client:
            return client.status()


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))  # where every user gets through
    folder.chmod(0o755)
    (folder / "pki").mkdir()
    pki = Pki(folder / "pki")
    pki.make("nameserver", "head")
    pki.make("bait")
    server = Server(folder, pki)
    server.start()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(folder / "bait.notify"))
        channel.settimeout(LIMIT_S)
        command = [sys.executable, str(PROCESS), "bait", str(folder), str(port), str(server.port)]
        process = subprocess.Popen(
            command,
            env=server.environment(NOTIFY_SOCKET=str(folder / "bait.notify")),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS)),
        )
        assert channel.recv(100) == b"READY=1"
    yield Node(folder, process)
    process.send_signal(signal.SIGTERM)
    process.wait(LIMIT_S)
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def attack(node: Node) -> Iterator[Callable[[int, int], None]]:
    """Let users, so many of them, open so many connections each, and go on with that."""
    begun: list[subprocess.Popen[str]] = []

    def begin(users: int, count: int) -> None:
        command = ["/usr/bin/python3", "-c", ATTACK, str(node.folder / "bait.sock"), "60000", str(users), str(count)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        begun.append(process)
        assert process.stdout is not None
        for _ in range(users):
            assert process.stdout.readline() == "begun\n"

    yield begin
    for process in begun:
        process.communicate("", timeout=LIMIT_S)


@pytest.mark.parametrize(("users", "count"), [(1, 2000), (40, 20)])
def test_hooks_and_root_are_answered_while_users_open_all_they_can(
    node: Node, attack: Callable[[int, int], None], users: int, count: int
) -> None:
    attack(users, count)
    seconds = []
    for _ in range(5):
        start = time.monotonic()
        assert node.hook() == {"action": "run", "reason": ""}
        assert node.status()["host"] == "hv1"
        seconds.append(time.monotonic() - start)
        assert node.descriptors() < DESCRIPTORS - 200
    assert max(seconds) < LIMIT_S / 2


def test_other_users_are_answered_while_one_opens_all_he_can(node: Node, attack: Callable[[int, int], None]) -> None:
    attack(1, 2000)
    script = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.send(b'GET /v1/status HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); print(s.recv(12).decode())"
    )
    command = ["/usr/bin/python3", "-c", script, str(node.folder / "bait.sock")]
    done = subprocess.run(command, user=61000, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert done.stdout == "HTTP/1.1 200\n"


def test_many_hooks_at_once_are_answered_under_attack(node: Node, attack: Callable[[int, int], None]) -> None:
    attack(1, 2000)
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda _: node.hook(), range(64)))
    assert answers == [{"action": "run", "reason": ""}] * 64


def test_what_was_refused_is_counted(node: Node, attack: Callable[[int, int], None]) -> None:
    attack(1, 2000)
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(LIMIT_S)
        caller.connect(root_socket(str(node.folder / "bait.sock")))
        caller.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = caller.makefile().read()
    (line,) = [line for line in text.splitlines() if line.startswith("wnodes_connections_refused_total")]
    assert float(line.split()[1]) > 1000
