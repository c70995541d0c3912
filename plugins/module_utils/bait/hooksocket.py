# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bait's end of the hook's socket: one JSON line in, one out, a short-lived thread for each hook.

While this does not answer, every job of the node waits for its hook; so whatever happens to one hook, or to the
process, it goes on.
"""

from __future__ import annotations

import json
import logging
import socket
import struct
import threading
from typing import Any, Callable, Dict, Optional

from ..engine.pulse import Loop
from ..model.errors import WnodesError
from ..model.job import Answer, Dispatch

log = logging.getLogger(__name__)

#: seconds for a hook's question, from its connection to its end
READ_LIMIT_S = 5.0
MAX_QUESTION = 65536
#: as many as a large node starts jobs at once
MAX_HOOKS = 256
#: seconds between two signs of life
TICK_S = 0.5
#: what became of a hook's question: an answer, or none in time
RUN, STOPPED, NONE = "run", "stopped", "none"


class HookSocket:
    """Answers hooks on a listening Unix socket. Only root is heard.

    :param decide: answers a dispatch; None where there is no answer
    :param loop: told in each round that we are alive
    :param at_once: hooks that are answered at once; all others wait at the socket
    """

    def __init__(
        self,
        listener: socket.socket,
        decide: Callable[[Dispatch], Optional[Answer]],
        loop: Optional[Loop] = None,
        at_once: int = MAX_HOOKS,
    ) -> None:
        self._listener, self._decide, self._loop = listener, decide, loop
        self._lock, self._slots = threading.Lock(), threading.BoundedSemaphore(at_once)
        self._trouble = ""
        #: questions since the start by what became of them
        self.answers = {RUN: 0, STOPPED: 0, NONE: 0}

    def serve(self, stop: threading.Event) -> None:
        """Answer hooks until ``stop`` is set."""
        self._listener.settimeout(TICK_S)
        while not stop.is_set():
            if self._loop is not None:
                self._loop.beat()
            try:
                self._next()
                self._trouble = ""
            except Exception as error:  # no descriptor or thread is free, for example: it goes by
                if self._loop is not None:
                    self._loop.failed()
                if repr(error) != self._trouble:
                    log.exception("hooks can't be heard now; it is tried again")
                self._trouble = repr(error)
                stop.wait(TICK_S)

    def _next(self) -> None:
        """Let a thread answer the next hook, if one comes within a tick."""
        if not self._slots.acquire(timeout=TICK_S):
            return
        connection = None
        try:
            connection, _address = self._listener.accept()
            threading.Thread(target=self._talk, args=(connection,), name="hook", daemon=True).start()
        except BaseException as error:
            self._slots.release()
            if connection is not None:
                connection.close()  # the hook asks again
            if not isinstance(error, socket.timeout):
                raise

    def _talk(self, connection: socket.socket) -> None:
        try:
            with connection:
                _pid, uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
                if uid == 0:
                    self._count(self._answer(connection))
        except Exception:
            log.exception("hook was not answered")
        finally:
            self._slots.release()

    def _answer(self, connection: socket.socket) -> str:
        try:
            connection.settimeout(READ_LIMIT_S)
            answer = self._decide(_dispatch(_read(connection)))
            if answer is None:
                return NONE
            connection.sendall(json.dumps({"action": answer.action, "reason": answer.reason}).encode() + b"\n")
            return answer.action if answer.action in self.answers else NONE
        except (OSError, ValueError, WnodesError) as error:
            log.warning("hook was not answered: %s", error)
        except Exception:
            log.exception("hook was not answered")
        return NONE

    def _count(self, what: str) -> None:
        with self._lock:
            self.answers[what] += 1


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
