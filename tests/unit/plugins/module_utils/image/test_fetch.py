# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fetched file is the right one or not there; what was sent once is not asked for again."""

from __future__ import annotations

import email.message
import hashlib
import http.client
import io
import json
import os
import ssl
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest

from wnodes.image.fetch import fetch
from wnodes.model.clock import FakeClock
from wnodes.model.errors import ImageError, UnavailableError

URL = "http://site/disk"
CONTENT = bytes(range(256)) * 12000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Waits(threading.Event):
    """Counts instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.delays: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.delays.append(timeout or 0.0)
        return self.is_set()


def response(status: int, headers: dict[str, str], body: bytes) -> http.client.HTTPResponse:
    """Return what http.client makes of these bytes."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    whole = f"HTTP/1.1 {status} Words\r\n{lines}\r\n".encode() + body

    class Wire:
        def makefile(self, _mode: str) -> io.BufferedReader:
            return io.BufferedReader(io.BytesIO(whole))  # type: ignore[arg-type]

    answer = http.client.HTTPResponse(Wire())  # type: ignore[arg-type]
    answer.begin()
    return answer


class Server:
    """A web server with ranges; ``cuts`` are the bytes after which the next connections break."""

    def __init__(self, content: bytes = CONTENT, **changes: Any) -> None:
        self.content, self.etag, self.ranges, self.cuts = content, '"1"', True, list[int]()
        self.asked: list[str] = []
        self.sent = 0
        self.fail: list[Exception] = []
        for name, value in changes.items():
            setattr(self, name, value)

    def __call__(self, request: urllib.request.Request, timeout: float) -> http.client.HTTPResponse:
        asked = request.get_header("Range", "")
        self.asked.append(asked)
        if self.fail:
            raise self.fail.pop(0)
        total, start, status = len(self.content), 0, 200
        headers = {"ETag": self.etag} if self.etag else {}
        if asked and self.ranges and request.get_header("If-range") == self.etag:
            start, status = int(asked[len("bytes=") : -1]), 206
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        body = self.content[start:]
        headers["Content-Length"] = str(len(body))
        body = body[: self.cuts.pop(0) if self.cuts else None]
        self.sent += len(body)
        return response(status, headers, body)


@pytest.fixture
def get(tmp_path: Path) -> Callable[..., bytes]:
    def call(server: Server, location: str = URL, digest: str = DIGEST, **more: Any) -> bytes:
        target = tmp_path / "target"
        try:
            fetch(location, str(target), digest, opener=server, **{"stop": Waits(), **more})
        except ImageError:
            assert list(tmp_path.iterdir()) == []
            raise
        except UnavailableError:
            assert not target.exists()
            raise
        assert [path.name for path in tmp_path.iterdir()] == ["target"]
        return target.read_bytes()

    return call


def left(tmp_path: Path, content: bytes, **origin: Any) -> None:
    """Leave what a fetch that was killed leaves."""
    (tmp_path / "target.partial").write_bytes(content)
    known = {"location": URL, "validator": '"1"', "total": len(CONTENT), **origin}
    (tmp_path / "target.origin").write_text(json.dumps(known))


def test_a_file_comes_whole_over_http(get: Callable[..., bytes]) -> None:
    assert get(Server()) == CONTENT


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_path_and_a_file_url_are_locations_too(
    get: Callable[..., bytes], tmp_path_factory: pytest.TempPathFactory, prefix: str
) -> None:
    source = tmp_path_factory.mktemp("site") / "disk"
    source.write_bytes(CONTENT)
    assert get(Server(), f"{prefix}{source}") == CONTENT


@pytest.mark.parametrize(("changed", "begin"), [(False, 1000), (True, 0)])
def test_a_copy_of_a_file_is_gone_on_with_unless_the_file_changed(
    get: Callable[..., bytes],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    changed: bool,
    begin: int,
) -> None:
    source = tmp_path_factory.mktemp("site") / "disk"
    source.write_bytes(CONTENT if changed else b"X" * 1000 + CONTENT[1000:])
    status = source.stat()
    validator = f"{status.st_size}-{status.st_mtime_ns + changed}-{status.st_ino}"
    left(tmp_path, CONTENT[:1000], location=str(source), validator=validator)
    seen: list[int] = []
    assert get(Server(), str(source), progress=lambda done, _total: seen.append(done)) == CONTENT
    assert seen[0] == begin


def test_a_broken_connection_is_taken_up_where_it_broke(get: Callable[..., bytes]) -> None:
    server, waits = Server(cuts=[1_000_000, 5, 1_500_000]), Waits()
    assert get(server, stop=waits) == CONTENT
    assert server.asked == ["", "bytes=1000000-", "bytes=1000005-", "bytes=2500005-"]
    assert server.sent == len(CONTENT)
    assert waits.delays == [0.5, 1.0, 2.0]


def test_what_a_killed_fetch_left_is_not_sent_again(get: Callable[..., bytes], tmp_path: Path) -> None:
    left(tmp_path, CONTENT[:2_000_000])
    server = Server()
    assert get(server) == CONTENT
    assert (server.asked, server.sent) == (["bytes=2000000-"], len(CONTENT) - 2_000_000)


def test_a_file_that_was_complete_when_the_fetch_was_killed_needs_no_server(
    get: Callable[..., bytes], tmp_path: Path
) -> None:
    left(tmp_path, CONTENT)
    server = Server()
    assert get(server) == CONTENT
    assert server.asked == []


@pytest.mark.parametrize(
    "origin", [{"validator": '"old"'}, {"location": "http://other/disk"}, {"validator": "", "total": None}]
)
def test_the_beginning_of_another_file_is_thrown_away(
    get: Callable[..., bytes], tmp_path: Path, origin: dict[str, Any]
) -> None:
    left(tmp_path, b"old" * 1000, **origin)
    server = Server()
    assert get(server) == CONTENT
    assert server.sent == len(CONTENT)


def test_a_damaged_beginning_costs_one_more_fetch_only(get: Callable[..., bytes], tmp_path: Path) -> None:
    left(tmp_path, b"X" * 1_000_000)
    server = Server()
    assert get(server) == CONTENT
    assert server.asked == ["bytes=1000000-", ""]


def test_an_unreadable_note_of_the_origin_is_no_harm(get: Callable[..., bytes], tmp_path: Path) -> None:
    left(tmp_path, b"X")
    (tmp_path / "target.origin").write_bytes(b"{")
    assert get(Server()) == CONTENT


def test_a_server_without_ranges_starts_again(get: Callable[..., bytes]) -> None:
    server = Server(ranges=False, cuts=[1000])
    assert get(server) == CONTENT
    assert server.sent == len(CONTENT) + 1000


def test_a_server_that_says_nothing_about_its_file_starts_again(get: Callable[..., bytes]) -> None:
    server = Server(etag="", cuts=[1000])
    assert get(server) == CONTENT
    assert server.asked == ["", ""]


def test_a_part_that_is_gone_or_is_another_one_starts_again(get: Callable[..., bytes], tmp_path: Path) -> None:
    left(tmp_path, CONTENT[:1000])
    gone = HTTPError(URL, 416, "Range Not Satisfiable", email.message.Message(), io.BytesIO())
    server = Server(fail=[gone])
    assert get(server) == CONTENT
    assert server.asked == ["bytes=1000-", ""]


def test_another_part_than_asked_for_is_not_taken(get: Callable[..., bytes], tmp_path: Path) -> None:
    left(tmp_path, CONTENT[:1000])

    class Confused(Server):
        def __call__(self, request: urllib.request.Request, timeout: float) -> http.client.HTTPResponse:
            if request.has_header("Range"):
                return response(206, {"Content-Range": "bytes 7-9/10", "Content-Length": "3"}, b"abc")
            return super().__call__(request, timeout)

    waits = Waits()
    assert get(Confused(), stop=waits) == CONTENT
    assert waits.delays == [0.5]


def test_trouble_that_may_pass_is_tried_again_a_bounded_number_of_times(
    get: Callable[..., bytes], tmp_path: Path
) -> None:
    busy = HTTPError(URL, 503, "Busy", email.message.Message(), io.BytesIO())
    assert get(Server(fail=[ConnectionResetError("reset"), busy, http.client.RemoteDisconnected("gone")])) == CONTENT
    (tmp_path / "target").unlink()
    waits = Waits()
    with pytest.raises(UnavailableError, match="reset"):
        get(Server(fail=[URLError(ConnectionResetError("reset"))] * 99), stop=waits)
    assert waits.delays == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0]


@pytest.mark.parametrize(
    "error",
    [
        HTTPError(URL, 404, "Not Found", email.message.Message(), io.BytesIO()),
        URLError(ssl.SSLCertVerificationError("certificate verify failed")),
        http.client.InvalidURL("nonnumeric port"),
    ],
)
def test_trouble_that_stays_is_said_at_once(get: Callable[..., bytes], error: Exception) -> None:
    waits = Waits()
    with pytest.raises(UnavailableError):
        get(Server(fail=[error]), stop=waits)
    assert waits.delays == []


def test_damage_at_the_source_is_refused_and_nothing_is_kept(get: Callable[..., bytes]) -> None:
    server = Server(CONTENT[:-1] + b"X")
    with pytest.raises(ImageError, match="damaged"):
        get(server)
    assert len(server.asked) == 1


def test_more_than_the_limit_is_not_even_begun(get: Callable[..., bytes]) -> None:
    server, begun = Server(), []
    with pytest.raises(ImageError, match="longer than the 1000 bytes"):
        get(server, limit=1000, progress=lambda done, _total: begun.append(done))
    assert begun == []
    assert get(server, limit=len(CONTENT)) == CONTENT


def test_more_than_the_limit_is_cut_off_where_no_length_was_announced(tmp_path: Path) -> None:
    taken = []

    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            taken.append(len(buffer))
            return len(buffer)

    def opener(_request: urllib.request.Request, _timeout: float) -> http.client.HTTPResponse:
        answer = response(200, {}, b"")
        answer.fp = io.BufferedReader(Endless())
        return answer

    with pytest.raises(ImageError, match="longer"):
        fetch(URL, str(tmp_path / "target"), DIGEST, limit=1000, opener=opener)
    assert sum(taken) < 20_000
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_as_such_and_what_is_here_stays(
    get: Callable[..., bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    server, waits = Server(), Waits()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(UnavailableError, match="No space left"):
            get(server, stop=waits)
    assert (len(server.asked), waits.delays) == (1, [])


def test_a_fetch_can_be_stopped_and_gone_on_with(get: Callable[..., bytes], tmp_path: Path) -> None:
    stop = threading.Event()
    with pytest.raises(UnavailableError, match="was stopped"):
        get(Server(), stop=stop, progress=lambda done, _total: stop.set() if done else None, clock=Ticking())
    here = (tmp_path / "target.partial").stat().st_size
    assert 0 < here < len(CONTENT)
    server = Server()
    assert get(server) == CONTENT
    assert server.sent == len(CONTENT) - here


class Ticking(FakeClock):
    """A second passes with each look."""

    def now(self) -> float:
        self.advance(1)
        return super().now()


def test_progress_comes_at_most_four_times_a_second_and_at_the_end(get: Callable[..., bytes], tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    get(Server(), progress=lambda done, total: seen.append((done, total)), clock=FakeClock())
    assert seen == [(0, len(CONTENT)), (len(CONTENT), len(CONTENT))]
    (tmp_path / "target").unlink()
    seen.clear()
    get(Server(), progress=lambda done, total: seen.append((done, total)), clock=Ticking())
    assert len(seen) > 5


@pytest.mark.parametrize("location", ["disk", "ftp://site/disk", "data:,x", "file://disk"])
def test_other_locations_are_refused(get: Callable[..., bytes], location: str) -> None:
    with pytest.raises(ImageError, match="neither an absolute path"):
        get(Server(), location)
