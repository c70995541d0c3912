# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Applications are called in this process, as any caller."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

import pytest

from wnodes.jsonhttp import JsonClient
from wnodes_services.server import Peer


class AppClient(JsonClient):
    """A JsonClient whose service is an application in this process."""

    def __init__(self, app: Any, peer: Peer) -> None:
        super().__init__("service under test", lambda timeout_s: None, "")  # type: ignore[arg-type,return-value]
        self._app, self._peer = app, peer

    def call(self, method: str, target: str, body: Any = None, *, extra_s: float = 0.0) -> Any:
        return self._decoded(*self.ask(method, target, None if body is None else json.dumps(body).encode()))

    def ask(self, method: str, target: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return status and content."""
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [] if body is None else [(b"content-type", b"application/json")],
            "state": {"peer": self._peer},
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body or b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        async def talk() -> None:
            # A bug is answered, and raised again for the server's log.
            with suppress(RuntimeError):
                await self._app(scope, receive, send)

        asyncio.run(talk())
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


Calling = Callable[..., AppClient]


@pytest.fixture
def calling() -> Calling:
    """Return a maker of clients: ``calling(app, uid=0)`` at a Unix socket, ``calling(app, names=…)`` over TLS."""

    def make(app: Any, uid: int | None = None, names: tuple[str, ...] = ()) -> AppClient:
        return AppClient(app, Peer(uid=uid, names=names))

    return make
