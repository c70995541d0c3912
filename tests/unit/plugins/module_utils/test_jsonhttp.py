# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors keep their type over HTTP, connections are kept, a closed one is replaced once."""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import Any

import pytest

from wnodes.jsonhttp import JsonClient, client_context, error_from, path
from wnodes.model.errors import NotFoundError, UnavailableError, VirtError


class Socket:
    def settimeout(self, seconds: float) -> None:
        self.timeout = seconds


class Response:
    will_close = False

    def __init__(self, status: int, content: bytes) -> None:
        self.status, self._content = status, content

    def read(self) -> bytes:
        return self._content


class Connection:
    """What the client needs of an HTTPConnection; answers from a list, or raises what is in it."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.requests, self.closed = list(answers), [], False
        self.sock = Socket()

    def connect(self) -> None:
        if isinstance(self.answers[0], ConnectionRefusedError):
            raise self.answers.pop(0)

    def request(self, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> None:
        self.requests.append((method, target, body))

    def getresponse(self) -> Response:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Response(*answer)

    def close(self) -> None:
        self.closed = True


def client(*connections: Connection) -> JsonClient:
    waiting = list(connections)
    return JsonClient("thing (here)", lambda timeout_s: waiting.pop(0), "start it", 2.0)  # type: ignore[arg-type,return-value]


def test_calls_share_a_connection() -> None:
    one = Connection((200, b'{"a": 1}'), (200, b""))
    caller = client(one)
    assert caller.call("GET", "/x") == {"a": 1}
    assert caller.call("PUT", "/y", [1], extra_s=3.0) is None
    assert one.requests == [("GET", "/x", None), ("PUT", "/y", b"[1]")]
    assert one.sock.timeout == 5.0
    caller.close()
    assert one.closed


@pytest.mark.parametrize(
    "closed",
    [
        http.client.RemoteDisconnected("gone"),
        ConnectionResetError(104, "Connection reset by peer"),
        ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
        ssl.SSLZeroReturnError(6, "TLS/SSL connection has been closed"),
    ],
)
def test_a_connection_that_was_closed_meanwhile_is_replaced(closed: Exception) -> None:
    one, two = Connection((200, b"1"), closed), Connection((200, b"2"))
    caller = client(one, two)
    assert [caller.call("GET", "/x"), caller.call("GET", "/x")] == [1, 2]
    assert one.closed


def test_errors_of_the_service_come_back_typed() -> None:
    error = NotFoundError(object="VM a", value="b", reason="c", hint="d")
    import json

    with pytest.raises(NotFoundError) as caught:
        client(Connection((404, json.dumps(error.as_dict()).encode()))).call("GET", "/x")
    assert caught.value.as_dict() == error.as_dict()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "does not answer: Connection refused; start it"),
        (socket.timeout("timed out"), "did not answer within 2 s"),
        (http.client.RemoteDisconnected("closed"), "does not answer: closed"),
        ((200, b"<html>"), "answered without JSON"),
        ((500, b'{"detail": "x"}'), "an error that wnodes does not know"),
    ],
)
def test_whatever_else_happens_nothing_is_known(answer: Any, said: str) -> None:
    with pytest.raises(UnavailableError, match=said):
        client(Connection(answer)).call("GET", "/x")


def test_only_our_errors_are_made_from_what_a_service_says() -> None:
    assert isinstance(error_from({"error": "VirtError", "object": "o", "reason": "r"}, "x"), VirtError)
    for name in ("Dict", "Exception", "annotations", "Missing", None):
        assert type(error_from({"error": name}, "x")) is UnavailableError


def test_paths_are_quoted() -> None:
    assert path("v1", "vms", "a/b c", after=3) == "/v1/vms/a%2Fb%20c?after=3"


def test_missing_certificates_are_named(tmp_path: Any) -> None:
    with pytest.raises(UnavailableError, match="No such file"):
        client_context(str(tmp_path / "ca"), str(tmp_path / "cert"), str(tmp_path / "key"))


def test_what_is_no_text_is_sent_as_question_marks() -> None:
    connection = Connection((200, b"{}"))
    client(connection).call("PUT", path("v1", "\udcff", key="\ud800"), {"\udcff": ["é", "\udc80"]})
    ((_method, target, body),) = connection.requests
    assert target == "/v1/%3F?key=%3F"
    assert body == '{"?": ["é", "?"]}'.encode()
