# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One question and one answer, a JSON line each, over a Unix stream socket."""

from __future__ import annotations

import json
import os
import socket
import time

TYPE_CHECKING = False  # see main.py
if TYPE_CHECKING:
    from typing import Any, Dict

MAX_ANSWER = 65536
PAUSE_S = 0.25


def ask(path: str, message: Dict[str, Any], limit_s: float) -> Dict[str, Any]:
    """Send ``message`` and return the answer; an empty dict when none came within ``limit_s`` seconds.

    A bait that restarts drops the connection; systemd keeps the socket, so asking again reaches the new one.
    """
    deadline = time.monotonic() + limit_s
    line = json.dumps(message).encode("ascii") + b"\n"
    while True:
        try:
            answer = _ask_once(path, line, deadline)
        except (OSError, ValueError):
            answer = {}
        if answer or time.monotonic() + PAUSE_S >= deadline or not os.path.exists(path):
            return answer
        time.sleep(PAUSE_S)


def _ask_once(path: str, line: bytes, deadline: float) -> Dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        sock.connect(path)
        sock.sendall(line)
        data = b""
        while not data.endswith(b"\n") and len(data) < MAX_ANSWER:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            chunk = sock.recv(4096)
            if not chunk:
                break
            data += chunk
    answer = json.loads(data)
    return answer if isinstance(answer, dict) else {}
