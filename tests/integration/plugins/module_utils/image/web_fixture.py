# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A web server on loopback with ranges, whose answers can be held back in the middle."""

from __future__ import annotations

import contextlib
import hashlib
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PIECE = 64 << 10


class Web(ThreadingHTTPServer):
    """Serves ``files`` (path → content) and ``redirects`` (path → URL).

    ``log`` has (path, Range header, bytes of the body sent) of each answer that ended; ``hold`` (path → bytes) makes
    an answer wait after so many bytes until ``go`` is set, and sets ``held``.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scheme = "http"
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.hold: dict[str, int] = {}
        self.held, self.go = threading.Event(), threading.Event()
        self.log: list[tuple[str, str, int]] = []

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}{path}"

    def secure(self, certificate: str) -> None:
        """Serve https from now on; ``certificate``: PEM with key."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.scheme = "https"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        if self.path in self.server.redirects:
            self.send_response(302)
            self.send_header("Location", self.server.redirects[self.path])
            self.end_headers()
            return
        content = self.server.files[self.path]
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        asked, start = self.headers.get("Range", ""), 0
        if asked and self.headers.get("If-Range") == etag:
            start = int(asked[len("bytes=") : -1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        sent = 0
        try:
            sent = self._send(content[start:])
        finally:
            self.server.log.append((self.path, asked, sent))

    def _send(self, body: bytes) -> int:
        stop = self.server.hold.get(self.path)
        for at in range(0, len(body), PIECE):
            if stop is not None and at >= stop:
                self.server.held.set()
                self.server.go.wait(60)
                stop = None
            self.wfile.write(body[at : at + PIECE])
        return len(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def serving() -> Iterator[Web]:
    """Give a server that runs."""
    with Web() as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield web
        finally:
            web.go.set()
            web.shutdown()
            thread.join()
