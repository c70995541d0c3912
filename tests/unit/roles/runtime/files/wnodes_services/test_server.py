# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is at the other end, as uvicorn's protocol shows it: pinned to uvicorn's inner workings."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from wnodes.engine.pulse import Pulse
from wnodes.model.clock import Clock, Failpoints, FakeClock
from wnodes.model.errors import ConfigError, UnavailableError
from wnodes_services import server
from wnodes_services.server import Entrance, Peer, PeerProtocol, Program, Tls


class Transport(asyncio.Transport):
    """A transport that knows what it is told; collects what is written."""

    def __init__(self, **extra: Any) -> None:
        super().__init__(extra)
        self.written, self.aborted = b"", False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True


class Certificate:
    def __init__(self, *names: tuple[str, str]) -> None:
        self._names = names

    def getpeercert(self) -> dict[str, Any]:
        return {"subject": (), "subjectAltName": self._names} if self._names else {}


def seen(transport: Transport, requests: int = 1) -> list[Peer]:
    """Return whom an application sees in each of several requests on one connection."""
    peers: list[Peer] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        peers.append(scope["state"]["peer"])
        scope["state"]["peer"] = None
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def talk() -> None:
        config = uvicorn.Config(app, http=PeerProtocol, ws="none", lifespan="off", log_config=None)
        config.load()
        protocol = PeerProtocol(config, ServerState(), {}, asyncio.get_running_loop())
        protocol.connection_made(transport)
        for _ in range(requests):
            protocol.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.gather(*protocol.tasks)
        protocol.connection_lost(None)

    asyncio.run(talk())
    return peers


def test_over_tls_the_names_of_the_certificate_are_seen() -> None:
    tls = Certificate(("DNS", "bait.wnodes"), ("IP Address", "10.0.0.1"), ("DNS", "hv1.bait.wnodes"))
    assert seen(Transport(ssl_object=tls)) == [Peer(names=("bait.wnodes", "hv1.bait.wnodes"))]


def test_a_certificate_without_names_is_nobody() -> None:
    assert seen(Transport(ssl_object=Certificate())) == [Peer()]


def test_at_a_unix_socket_the_process_is_seen() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert seen(Transport(socket=ours)) == [Peer(os.getuid(), os.getgid(), os.getpid())]


def test_elsewhere_nobody_is_seen() -> None:
    assert seen(Transport()) == [Peer()]


def test_every_request_of_a_connection_sees_the_peer_anew() -> None:
    tls = Certificate(("DNS", "a"))
    assert seen(Transport(ssl_object=tls), requests=3) == [Peer(names=("a",))] * 3


def test_tls_asks_for_a_certificate() -> None:
    options = Tls.of("bait", "/pki").options()
    assert options["ssl_certfile"] == "/pki/bait.crt"
    assert options["ssl_keyfile"] == "/pki/bait.key"
    assert options["ssl_ca_certs"] == "/pki/ca.crt"
    assert options["ssl_cert_reqs"].name == "CERT_REQUIRED"


class State:
    config = ""


class App:
    state = State()


@dataclass(frozen=True)
class Config:
    text: str


@pytest.fixture
def run_main(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[Program]]:
    """Return what runs ``main`` with a good file and returns what was served, or raises what ended the process."""
    served: list[Program] = []
    (tmp_path / "thing.yml").write_text("text: a\n")

    async def serve(program: Program) -> None:
        served.append(program)

    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr(server.os, "_exit", lambda code: None)
    monkeypatch.setattr(server.systemd, "log_to_journal", lambda level: None)

    def run(build: Any, *arguments: str, check_more: Any = lambda config: None) -> list[Program]:
        monkeypatch.setattr(server.sys, "argv", ["wnodes-thing", *arguments, str(tmp_path / "thing.yml")])
        server.main("thing", Config, build, check_more)
        return served

    return run


def test_main_reads_builds_and_serves(monkeypatch: pytest.MonkeyPatch, run_main: Callable[..., list[Program]]) -> None:
    monkeypatch.setenv("WNODES_FAILPOINTS", "here")
    given: list[Any] = []

    def build(config: Config, clock: Clock, failpoints: Failpoints) -> Program:
        given.extend([config, failpoints._actions])
        return Program(App, list)

    (program,) = run_main(build)
    assert len(program.app.state.config) == 40
    assert given[0] == Config("a")
    assert set(given[1]) == {"here"}


def test_check_looks_at_the_files_that_the_configuration_names(
    run_main: Callable[..., list[Program]], capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(config: Config) -> None:
        raise ConfigError(object=f"other {config.text}", reason="is broken")

    with pytest.raises(SystemExit) as caught:
        run_main(lambda *_: pytest.fail("built"), "--check", check_more=refuse)
    assert caught.value.code == 78
    assert capsys.readouterr().err == "configuration: other a: is broken\n"


def test_check_builds_nothing(run_main: Callable[..., list[Program]]) -> None:
    assert run_main(lambda *_: pytest.fail("built"), "--check") == []


@pytest.mark.parametrize(
    ("error", "code"), [(ConfigError(object="a", reason="b"), 78), (UnavailableError(object="a", reason="b"), 1)]
)
def test_what_fails_at_the_start_is_one_line(
    run_main: Callable[..., list[Program]], capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    def build(*_: Any) -> Program:
        raise error

    with pytest.raises(SystemExit) as caught:
        run_main(build)
    assert caught.value.code == code
    assert capsys.readouterr().err.count("\n") == 1


async def everything(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/metrics", 200),
        ("GET", "/metrics/", 404),
        ("GET", "/v1/jobs", 404),
        ("GET", "/healthz", 404),
        ("POST", "/metrics", 404),
        ("DELETE", "/v1/vms/r1", 404),
    ],
)
def test_where_anybody_may_look_there_are_metrics_and_nothing_else(method: str, path: str, status: int) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path}
    asyncio.run(server.only_metrics(everything)(scope, None, send))
    assert sent[0]["status"] == status


def listeners(monkeypatch: pytest.MonkeyPatch, place: str, listen: Any) -> list[Any]:
    monkeypatch.setattr(server, "tcp_socket", listen)
    return server._servers(Program(App, lambda: [Entrance(None)], metrics=place))  # type: ignore[arg-type]  # nothing is opened


def test_metrics_are_served_nowhere_else_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(listeners(monkeypatch, "", lambda *_: pytest.fail("listens"))) == 1


def test_metrics_are_served_where_told_to_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    assert len(listeners(monkeypatch, "127.0.0.1:9717", lambda *place: asked.append(place))) == 2
    assert asked == [("127.0.0.1", 9717, server.METRICS_CONNECTIONS)]


def test_a_port_that_is_taken_keeps_no_service_from_its_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def taken(*_place: Any) -> None:
        raise OSError(98, "Address already in use")

    assert len(listeners(monkeypatch, "127.0.0.1:9717", taken)) == 1
    assert "metrics are not served at 127.0.0.1:9717" in caplog.text


MANAGER = ("manager.wnodes", "head.manager.wnodes")


@pytest.mark.parametrize(
    ("names", "status"),
    [
        (MANAGER, 200),
        (("bait.wnodes", "hv1.bait.wnodes"), 403),
        (("hypervisor.wnodes", "hv1.hypervisor.wnodes"), 403),
        (("nameserver.wnodes", "head.nameserver.wnodes"), 403),
        (("manager.wnodes",), 403),
        ((*MANAGER, "bait.wnodes"), 403),
        ((), 403),
    ],
)
@pytest.mark.parametrize("path", ["/v1/status", "/metrics", "/healthz"])
def test_from_other_machines_managers_get_through_and_nobody_else(
    names: tuple[str, ...], status: int, path: str
) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "state": {"peer": Peer(names=names)}}
    asyncio.run(server.only_managers(everything)(scope, None, send))
    assert sent[0]["status"] == status


def test_managers_are_served_over_tls_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "tcp_socket", lambda *place: place)
    tls = Tls("ca", "cert", "key")
    program = Program(App, list, manage="0.0.0.0:8444", tls=tls)
    (managers,) = server._servers(program)
    assert (managers._listener, managers.config.ssl_certfile) == (("0.0.0.0", 8444, 32), "cert")
    assert managers.config.ssl_cert_reqs == ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("sent", "given_up"),
    [(b"", True), (b"GET / HTTP/1.1\r\nHost: ", True), (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", False)],
)
def test_who_asks_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, sent: bytes, given_up: bool) -> None:
    monkeypatch.setattr(server, "FIRST_REQUEST_S", 0.0)
    transport = Transport()

    async def talk() -> None:
        loop, late = asyncio.get_running_loop(), asyncio.Event()
        config = uvicorn.Config(everything, http=PeerProtocol, ws="none", lifespan="off", log_config=None)
        config.load()
        protocol = PeerProtocol(config, ServerState(), {}, loop)
        protocol.connection_made(transport)
        if sent:
            protocol.data_received(sent)
        loop.call_later(0.01, late.set)
        await late.wait()
        protocol.connection_lost(None)

    asyncio.run(talk())
    assert transport.aborted is given_up


@pytest.mark.parametrize(
    ("peer", "size", "whole"),
    [
        (Peer(1000, 1000, 1), server.LOCAL_BODY, True),
        (Peer(1000, 1000, 1), server.LOCAL_BODY + 1, False),
        (Peer(0, 0, 1), 10 * server.LOCAL_BODY, True),
        (Peer(names=("hv1.bait.wnodes",)), 10 * server.LOCAL_BODY, True),
    ],
)
def test_of_a_user_no_long_body_is_kept(peer: Peer, size: int, whole: bool) -> None:
    parts = [{"type": "http.request", "body": b"x" * (size // 2), "more_body": True}]
    parts.append({"type": "http.request", "body": b"x" * (size - size // 2), "more_body": False})
    got: list[str] = []

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        got.extend([(await receive())["type"] for _ in range(2)])

    async def receive() -> Any:
        return parts.pop(0)

    asyncio.run(server.small_bodies(app)({"type": "http", "state": {"peer": peer}}, receive, None))
    assert (got[-1] == "http.request") is whole


def beats(monkeypatch: pytest.MonkeyPatch, pulse: Pulse) -> set[str]:
    """Return what systemd is told in a few rounds."""
    said: set[str] = set()
    monkeypatch.setattr(server.systemd, "notify", said.add)

    async def some() -> None:
        task = asyncio.create_task(server._sign_of_life(0.01, pulse))
        await asyncio.wait({task}, timeout=0.05)
        task.cancel()

    asyncio.run(some())
    return said


def test_systemd_hears_of_us_only_while_every_loop_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    pulse = Pulse(clock.now)
    pulse.loop("hook", 30.0)
    assert beats(monkeypatch, pulse) == {"WATCHDOG=1"}
    clock.advance(31)
    assert beats(monkeypatch, pulse) == set()
    assert "loop hook has been stuck for 31 s; unless it recovers, systemd will restart this service" in caplog.text
