# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a service: uvicorn that knows who is at the other end, under systemd.

Stock uvicorn shows an application neither the peer's certificate nor SO_PEERCRED. PeerProtocol adds both.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import faulthandler
import hashlib
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import Response
from fastapi.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from wnodes.engine.pulse import Pulse
from wnodes.jsonhttp import root_socket
from wnodes.load import stretch
from wnodes.model.caller import MANAGER, certificate_caller
from wnodes.model.clock import Clock, Failpoints
from wnodes.model.endpoint import endpoint
from wnodes.model.errors import AuthError, ConfigError, WnodesError

from . import config as configuration
from . import systemd
from .connections import Bounds, Listener, credentials

log = logging.getLogger(__name__)

#: connections of the users of this machine at a Unix socket; root's are not counted
LOCAL_CONNECTIONS = 512
#: seconds for the first request to come in, from the connection to the end of its head
FIRST_REQUEST_S = 10.0
#: bytes of a request's body that a user of this machine may send; what is longer is root's
LOCAL_BODY = 65536
#: connections of the site's managers
MANAGE_CONNECTIONS = 32
#: connections at the address for metrics: whoever may look there must not be able to wear the service out
METRICS_CONNECTIONS = 8


@dataclass(frozen=True)
class Peer:
    """Who is at the other end of a connection.

    :param uid: user id of a process at a Unix socket; None elsewhere
    :param names: DNS names in the certificate that TLS has verified; empty elsewhere
    """

    uid: int | None = None
    gid: int | None = None
    pid: int | None = None
    names: tuple[str, ...] = ()


def _peer(transport: asyncio.BaseTransport) -> Peer:
    tls = transport.get_extra_info("ssl_object")
    if tls is not None:
        names = (tls.getpeercert() or {}).get("subjectAltName", ())
        return Peer(names=tuple(value for kind, value in names if kind == "DNS"))
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family == socket.AF_UNIX:
        pid, uid, gid = credentials(connection)
        return Peer(uid, gid, pid)
    return Peer()


class PeerProtocol(H11Protocol):
    """Puts a Peer into each request's ``scope["state"]["peer"]`` (``request.state.peer``).

    Who connects and asks nothing is not waited for.
    """

    # uvicorn's own declaration is as narrow as this one: servers only ever have a full transport
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # uvicorn copies app_state into every request's scope.
        self.app_state = {**self.app_state, "peer": _peer(transport)}
        self._late = self.loop.call_later(FIRST_REQUEST_S, self._unless_asked)

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()
        super().connection_lost(exc)

    def _unless_asked(self) -> None:
        if self.cycle is None:
            self.transport.abort()


@dataclass(frozen=True)
class Tls:
    """Paths of PEM files; a client must show a certificate of the same CA."""

    ca: str
    cert: str
    key: str

    @classmethod
    def of(cls, role: str, pki_dir: str) -> Tls:
        """Return the files of a role's certificate."""
        return cls(*(os.path.join(pki_dir, name) for name in ("ca.crt", f"{role}.crt", f"{role}.key")))

    def options(self) -> dict[str, Any]:
        return {
            "ssl_ca_certs": self.ca,
            "ssl_certfile": self.cert,
            "ssl_keyfile": self.key,
            "ssl_cert_reqs": ssl.CERT_REQUIRED,
        }


@dataclass(frozen=True)
class Entrance:
    """A listening socket.

    :param tls: its files; None: it speaks without
    :param public: whoever may call here is served in a thread of its own, and keeps nobody else waiting
    """

    listener: socket.socket
    tls: Tls | None = None
    public: bool = False


@dataclass
class Program:
    """A service that is ready to run.

    :param app: the application; ``app.state.config`` becomes the SHA-1 of the configuration file it runs with
    :param listen: opens the sockets
    :param start: called before the first request; may raise
    :param stop: called after the last one
    :param pulse: what drives the service; systemd hears of us only while it goes on
    :param manage: ``<address>:<port>`` at which managers of the site may make all calls, over ``tls``; empty: nowhere
    :param metrics: ``<address>:<port>`` at which anybody may read ``/metrics``, and nothing else; empty: nowhere
    """

    app: Any
    listen: Callable[[], list[Entrance]]
    start: Callable[[], None] = field(default=lambda: None)
    stop: Callable[[], None] = field(default=lambda: None)
    metrics: str = ""
    manage: str = ""
    tls: Tls | None = None
    pulse: Pulse = field(default_factory=Pulse)


def unix_socket(path: str, mode: int = 0o666) -> socket.socket:
    """Return a listening Unix socket; whoever may connect is asked by SO_PEERCRED what it may do."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = Listener(socket.AF_UNIX, socket.SOCK_STREAM, bounds=Bounds(LOCAL_CONNECTIONS))
    listener.bind(path)
    os.chmod(path, mode)
    listener.listen(128)
    return listener


def local_sockets(path: str) -> list[Entrance]:
    """Return a socket for the users of this machine and one for root alone."""
    return [Entrance(unix_socket(path), public=True), Entrance(unix_socket(root_socket(path), 0o600))]


def tcp_socket(address: str, port: int, connections: int | None = None) -> socket.socket:
    """Return a listening TCP socket.

    :param connections: that it has at once; None: any number
    """
    # asyncio sends without delay only where the protocol is named; else each answer takes 40 ms.
    listener = Listener(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, bounds=Bounds(connections))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(512)
    return listener


class _Server(uvicorn.Server):
    """One listener. Signals are ours: several servers share one process."""

    def __init__(self, app: Any, entrance: Entrance) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=PeerProtocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=2,
                **(entrance.tls.options() if entrance.tls else {}),
            )
        )
        self._listener, self.public = entrance.listener, entrance.public
        self.up: concurrent.futures.Future[None] = concurrent.futures.Future()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set_result(None)

    async def run_until_told(self) -> None:
        serving = self.serve(sockets=[self._listener])
        await (asyncio.to_thread(asyncio.run, serving) if self.public else serving)


def small_bodies(app: Any) -> Any:
    """Return an ASGI application that reads no more of a user's body than ``LOCAL_BODY``: it is kept in memory."""

    async def limited(scope: Any, receive: Any, send: Any) -> None:
        left = LOCAL_BODY

        async def some() -> Any:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            return message if left >= 0 else {"type": "http.disconnect"}

        uid = scope["state"]["peer"].uid
        await app(scope, some if uid is not None and uid != 0 else receive, send)

    return limited


def only_metrics(app: Any) -> Any:
    """Return an ASGI application that lets ``GET /metrics`` through to ``app`` and knows nothing else."""

    async def limited(scope: Any, receive: Any, send: Any) -> None:
        wanted = scope["type"] == "http" and (scope["method"], scope["path"]) == ("GET", "/metrics")
        await (app if wanted else Response(status_code=404))(scope, receive, send)

    return limited


def only_managers(app: Any) -> Any:
    """Return an ASGI application that lets callers through to ``app`` whose certificate is a manager's."""

    async def limited(scope: Any, receive: Any, send: Any) -> None:
        try:
            caller = certificate_caller(scope["state"]["peer"].names)
            if caller.role != MANAGER:
                raise AuthError(object="certificate", value=str(caller), reason="is not a manager's")
        except AuthError as error:
            await JSONResponse(error.as_dict(), 403)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return limited


def _servers(program: Program) -> list[_Server]:
    servers = [_Server(small_bodies(program.app), entrance) for entrance in program.listen()]
    # jobs are worth more than figures about them, and than convenience
    for what, listen, app, tls, connections, public in (
        ("metrics", program.metrics, only_metrics(program.app), None, METRICS_CONNECTIONS, True),
        ("calls of managers", program.manage, only_managers(program.app), program.tls, MANAGE_CONNECTIONS, False),
    ):
        place = endpoint(listen, what)
        try:
            if place is not None:
                servers.append(_Server(app, Entrance(tcp_socket(*place, connections), tls, public)))
        except OSError as error:
            log.error("%s are not served at %s: %s", what, listen, error)
    return servers


async def _sign_of_life(every_s: float, pulse: Pulse) -> None:
    """Systemd kills us unless this and all other loops still turn; what was under way is taken up after that."""
    while True:
        problems = pulse.problems()
        for problem in problems:
            log.error("%s; unless it recovers, systemd will restart this service", problem)
        if not problems:
            systemd.notify("WATCHDOG=1")
        await asyncio.sleep(every_s)


async def serve(program: Program) -> None:
    """Run ``program`` until SIGTERM or SIGINT."""
    faulthandler.enable()  # when systemd's patience ends, each thread tells where it hangs
    loop = asyncio.get_running_loop()
    servers = _servers(program)
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await asyncio.to_thread(program.start)
    running = [asyncio.create_task(server.run_until_told()) for server in servers]
    up: asyncio.Future[Any] = asyncio.gather(*(asyncio.wrap_future(server.up) for server in servers))
    await asyncio.wait({up, *running}, return_when=asyncio.FIRST_COMPLETED)
    systemd.notify("READY=1")
    watchdog_s = systemd.watchdog_s()
    alive = asyncio.create_task(_sign_of_life(watchdog_s / 3, program.pulse)) if watchdog_s else None
    await asyncio.wait([*running, asyncio.create_task(told.wait())], return_when=asyncio.FIRST_COMPLETED)
    systemd.notify("STOPPING=1")
    for server in servers:
        server.should_exit = True
    await asyncio.to_thread(program.stop)
    await asyncio.gather(*running)
    if alive:
        alive.cancel()


ProgramFactory = Callable[[Any, Clock, Failpoints], Program]


def main(
    role: str, config_class: type[Any], build: ProgramFactory, check_more: Callable[[Any], object] = lambda config: None
) -> None:
    """Be the process of ``wnodes-<role>``: ``[--check] [FILE]``.

    ``--check`` only reads the configuration file (by default ``/etc/wnodes/<role>.yml``) and tells what is wrong.

    :param check_more: looks at the files that the configuration names; raises ConfigError
    """
    arguments = sys.argv[1:]
    check = "--check" in arguments
    files = [argument for argument in arguments if argument != "--check"]
    path = files[0] if files else f"/etc/wnodes/{role}.yml"
    config = configuration.load_or_exit(config_class, path, check_more)
    if check:
        return
    checksum = hashlib.sha1(Path(path).read_bytes(), usedforsecurity=False).hexdigest()
    systemd.log_to_journal(os.environ.get("WNODES_LOG_LEVEL", "INFO"))
    failpoints = Failpoints.from_environment(os.environ.get("WNODES_FAILPOINTS", ""))
    try:
        program = build(config, Clock(stretch=stretch), failpoints)
        program.app.state.config = checksum
        asyncio.run(serve(program))
    except ConfigError as error:
        print(f"<3>configuration: {error}", file=sys.stderr)
        raise SystemExit(configuration.EX_CONFIG) from None
    except (WnodesError, OSError) as error:
        print(f"<3>wnodes-{role}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    # Long polls may still hold threads; all that matters is on disk.
    sys.stderr.flush()
    os._exit(0)
