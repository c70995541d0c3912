# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests are closed in: no process, no socket, no sleep. Whoever needs one belongs in tests/integration."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import time
from typing import Any

import hypothesis
import pytest

# a deadline would judge what else this machine does
hypothesis.settings.register_profile("wnodes", deadline=None)
hypothesis.settings.load_profile("wnodes")


class ForbiddenInUnitTests(BaseException):
    """Derived from BaseException, so that no ``except Exception`` of the product hides it."""


def _forbid(what: str) -> Any:
    def guard(*args: Any, **kwargs: Any) -> Any:
        raise ForbiddenInUnitTests(f"a unit test must not {what}: use the fake of the seam")

    return guard


_socket_init = socket.socket.__init__


def _only_pairs(self: socket.socket, family: int = -1, type: int = -1, proto: int = -1, fileno: Any = None) -> None:
    # socket.socketpair() and accept() wrap a descriptor; event loops need the former to wake themselves.
    if fileno is None:
        raise ForbiddenInUnitTests("a unit test must not open a socket: use the fake of the seam")
    _socket_init(self, family, type, proto, fileno)


@pytest.fixture(autouse=True)
def _closed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "__init__", _only_pairs)
    monkeypatch.setattr(subprocess.Popen, "__init__", _forbid("start a process"))
    for name in ("system", "popen", "fork", "forkpty", "posix_spawn", "posix_spawnp", "execv", "execve"):
        monkeypatch.setattr(os, name, _forbid("start a process"))
    monkeypatch.setattr(time, "sleep", _forbid("sleep"))


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays for the whole run."""
    gc.collect()
    gc.freeze()
