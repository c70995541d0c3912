# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bait's end of the hook's socket: one JSON line in, one out, a short-lived thread for each hook."""

from __future__ import annotations

import json
import logging
import socket
import struct
import threading
from typing import Any, Dict

from ..model.errors import WnodesError
from ..model.job import Dispatch
from .service import Bait

log = logging.getLogger(__name__)

READ_LIMIT_S = 5.0
MAX_QUESTION = 65536


def serve(listener: socket.socket, bait: Bait, stop: threading.Event) -> None:
    """Answer hooks on the listening Unix socket until ``stop`` is set. Only root is heard."""
    listener.settimeout(0.5)
    while not stop.is_set():
        try:
            connection, _address = listener.accept()
        except socket.timeout:
            continue
        threading.Thread(target=_talk, args=(connection, bait), name="hook", daemon=True).start()


def _talk(connection: socket.socket, bait: Bait) -> None:
    with connection:
        try:
            _pid, uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if uid != 0:
                return
            connection.settimeout(READ_LIMIT_S)
            answer = bait.dispatch(_dispatch(_read(connection)))
            if answer is not None:
                connection.sendall(json.dumps({"action": answer.action, "reason": answer.reason}).encode() + b"\n")
        except (OSError, ValueError, WnodesError) as error:
            log.warning("hook was not answered: %s", error)
        except Exception:
            log.exception("hook was not answered")


def _read(connection: socket.socket) -> Dict[str, Any]:
    data = b""
    while not data.endswith(b"\n"):
        chunk = connection.recv(4096)
        if not chunk or len(data) > MAX_QUESTION:
            raise ValueError("not one JSON line")
        data += chunk
    question = json.loads(data)
    if not isinstance(question, dict):
        raise ValueError("not a JSON object")
    return question


def _dispatch(question: Dict[str, Any]) -> Dispatch:
    environment = question.get("environment", {})
    if not isinstance(environment, dict):
        raise ValueError("environment is not an object")
    text = {str(key): str(value) for key, value in environment.items()}
    return Dispatch(str(question.get("event", "")), str(question.get("job_id", "")), text)
