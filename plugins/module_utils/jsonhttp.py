# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON over HTTP with what the standard library has: the client side of all our services.

Kept-alive connections, a deadline on every call, and our typed errors on both ends. What is no text in a body or a path
(a lone surrogate, which bytes of a user's may become) is sent as question marks. Every call of ours is idempotent,
so a call that met a connection the server had meanwhile closed is made once more.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import struct
import threading
from typing import Any, Callable, List, Optional, Tuple
from urllib.parse import quote, urlencode

from .model import errors
from .model.caller import DOMAIN, MANAGER
from .model.errors import UnavailableError, WnodesError

#: where a node's certificates are
PKI_DIR = "/etc/wnodes/pki"

#: what a call meets on a connection that the server has closed meanwhile; over TLS by a server that was ended, too
CLOSED = (
    http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError,
)  # fmt: skip

#: makes an unconnected connection with the given timeout in seconds
ConnectionOpener = Callable[[float], http.client.HTTPConnection]


def root_socket(socket_path: str) -> str:
    """Return the path of root's own socket beside ``socket_path``, which is everybody's.

    Users who fill the queue of one do not keep root out of the other.
    """
    base, suffix = os.path.splitext(socket_path)
    return f"{base}-root{suffix}"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket, for root over its own where there is one."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        own = root_socket(path)
        self._path, self._limit_s = own if os.geteuid() == 0 and os.path.exists(own) else path, timeout

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # the kernel's limit: with Python's, a queue that others have filled would be an error at once
            limit = struct.pack("ll", int(self._limit_s), int(self._limit_s % 1 * 1e6))
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            self.sock.connect(self._path)
            self.sock.settimeout(self._limit_s)
        except BlockingIOError:
            self.close()
            raise socket.timeout from None
        except OSError:
            self.close()
            raise


class TlsConnection(http.client.HTTPConnection):
    """HTTPS to any address whose certificate carries ``server_name``: we trust roles, not host names."""

    def __init__(self, address: str, port: int, timeout: float, context: ssl.SSLContext, server_name: str) -> None:
        super().__init__(address, port, timeout=timeout)
        self._context, self._server_name = context, server_name

    def connect(self) -> None:
        raw = socket.create_connection((self.host, self.port), self.timeout)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock = self._context.wrap_socket(raw, server_hostname=self._server_name)
        except OSError:
            raw.close()
            raise


def client_context(ca: str, cert: str, key: str) -> ssl.SSLContext:
    """Return a TLS context that shows ``cert`` and trusts only ``ca`` (paths of PEM files).

    :raises UnavailableError: a file is missing or not what it must be
    """
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(ca)
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise UnavailableError(object="TLS files", value=f"{ca}, {cert}, {key}", reason=str(error)) from error
    return context


def path(*parts: str, **query: Any) -> str:
    """Return ``/part/part?key=value`` with everything quoted."""
    text = "/" + "/".join(quote(part, safe="", errors="replace") for part in parts)
    return f"{text}?{urlencode(query, errors='replace')}" if query else text


class JsonClient:
    """Calls one service, from any number of threads.

    :param what: how messages name the service, with where it is
    :param opener: makes a connection to it
    :param hint: what to do when it does not answer
    :param timeout_s: longest wait for a connection and for each answer, in seconds
    """

    def __init__(self, what: str, opener: ConnectionOpener, hint: str, timeout_s: float = 10.0) -> None:
        self._what, self._opener, self._hint, self._timeout_s = what, opener, hint, timeout_s
        self._idle: List[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def call(self, method: str, target: str, body: Any = None, *, extra_s: float = 0.0) -> Any:
        """Return the decoded answer.

        :param extra_s: seconds the service itself may wait before it answers (long polls)
        :raises WnodesError: what the service answered, typed
        :raises UnavailableError: it did not answer, or not in our terms
        """
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        timeout_s = self._timeout_s + extra_s
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        if kept is not None:
            try:
                return self._exchange(kept, method, target, data, timeout_s)
            except CLOSED:
                pass
            except (OSError, http.client.HTTPException) as error:
                raise self._unavailable(error) from error
        connection = self._opener(self._timeout_s)
        try:
            connection.connect()
            return self._exchange(connection, method, target, data, timeout_s)
        except (OSError, http.client.HTTPException) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> UnavailableError:
        if isinstance(error, socket.timeout):
            reason = f"did not answer within {self._timeout_s:g} s"
        else:
            reason = f"does not answer: {(error.strerror if isinstance(error, OSError) else '') or error}"
        return UnavailableError(object=self._what, reason=reason, hint=self._hint)

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, target: str, data: Optional[bytes], timeout_s: float
    ) -> Any:
        try:
            connection.sock.settimeout(timeout_s)
            headers = {"Content-Type": "application/json"} if data is not None else {}
            connection.request(method, target, body=data, headers=headers)
            response = connection.getresponse()
            content = response.read()
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            with self._lock:
                self._idle.append(connection)
        return self._decoded(response.status, content)

    def _decoded(self, status: int, content: bytes) -> Any:
        try:
            answer = json.loads(content) if content else None
        except ValueError:
            raise UnavailableError(object=self._what, value=str(status), reason="answered without JSON") from None
        if status < 400:
            return answer
        raise error_from(answer, self._what)

    def close(self) -> None:
        """Close the connections that are not in use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def unix_client(service: str, socket_path: str, timeout_s: float = 10.0) -> JsonClient:
    """Return a client of ``wnodes-<service>`` on this node."""
    return JsonClient(
        f"{service} ({socket_path})",
        lambda seconds: UnixConnection(socket_path, seconds),
        f"is wnodes-{service}.service running here? `systemctl status wnodes-{service}` tells",
        timeout_s,
    )


def tls_client(
    what: str, place: Tuple[str, int], server_name: str, hint: str, pki_dir: str, role: str, timeout_s: float
) -> JsonClient:
    """Return a client over mutual TLS, which speaks for ``role``; connections are made when they are needed.

    :param place: host and port
    :param server_name: what the other side's certificate must carry, whatever address it is reached at
    :param pki_dir: where ca.crt, <role>.crt and <role>.key are
    :raises UnavailableError: those can't be read
    """
    context = client_context(*(os.path.join(pki_dir, name) for name in ("ca.crt", f"{role}.crt", f"{role}.key")))

    def opener(seconds: float) -> http.client.HTTPConnection:
        return TlsConnection(*place, seconds, context, server_name)

    return JsonClient(what, opener, hint, timeout_s)


def node_client(
    service: str, node: str, place: Tuple[str, int], pki_dir: str = PKI_DIR, timeout_s: float = 10.0
) -> JsonClient:
    """Return a manager's client of ``wnodes-<service>`` on another node: of that one's, and nobody else's."""
    what, name = f"{service} of {node} ({place[0]}:{place[1]})", f"{node}.{service}{DOMAIN}"
    hint = f"is {node} up, and wnodes-{service}.service there? does a firewall let port {place[1]} through?"
    return tls_client(what, place, name, hint, pki_dir, MANAGER, timeout_s)


def error_from(answer: Any, what: str) -> WnodesError:
    """Return the typed error whose ``as_dict`` a service sent."""
    if isinstance(answer, dict):
        kind = getattr(errors, str(answer.get("error")), None)
        if isinstance(kind, type) and issubclass(kind, WnodesError):
            texts = {key: str(answer.get(key, "")) for key in ("object", "value", "reason", "hint")}
            return kind(**texts)
    return UnavailableError(
        object=what, value=repr(answer)[:200], reason="answered with an error that wnodes does not know"
    )
