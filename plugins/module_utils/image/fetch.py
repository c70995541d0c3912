# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch one file from a path or an http(s) URL: verified while its bytes pass, and gone on with where it broke off."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import logging
import os
import re
import ssl
import threading
import urllib.request
from dataclasses import dataclass
from typing import IO, Any, Callable, ContextManager, Iterator, Optional, Tuple
from urllib.error import HTTPError
from urllib.parse import urlsplit

from ..model.clock import Clock
from ..model.errors import ImageError, UnavailableError
from .disk import HashedFile, read_into, write_atomically

log = logging.getLogger(__name__)

#: called with the bytes that are here and, where known, the bytes there will be
Progress = Callable[[int, Optional[int]], None]
#: asks a request with a timeout in seconds; HTTPError where the answer is none of 2xx
UrlOpener = Callable[[urllib.request.Request, float], http.client.HTTPResponse]

#: what is here so far, and (JSON) where it came from, beside the target
PARTIAL = ".partial"
ORIGIN = ".origin"
_FILE = "file://"
_WEB = ("http://", "https://")
_STALL_S = 60.0
_RETRY_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
_REPORT_S = 0.25
#: bytes asked of a connection at once: a call returns what has come, so this only bounds the buffer
_RECEIVE = 256 << 10
_BUSY = (408, 425, 429)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)\Z")


def fetch(
    location: str,
    target: str,
    digest: str,
    *,
    limit: Optional[int] = None,
    progress: Optional[Progress] = None,
    stop: Optional[threading.Event] = None,
    clock: Optional[Clock] = None,
    opener: Optional[UrlOpener] = None,
) -> None:
    """Fetch ``location`` into the file ``target``, which appears whole, verified and durable, or not at all.

    What a fetch that failed or died left beside ``target`` is gone on with, as long as the source says that its file
    is still the same. Broken connections are tried again for about a minute.

    :param location: absolute path, ``file://``, ``http://`` or ``https://`` URL
    :param digest: the file's sha256 (hex)
    :param limit: bytes the file may have at most
    :param progress: called at most four times a second, and at the end
    :param stop: when set, ends the fetch soon, with UnavailableError
    :raises UnavailableError: source, network or this disk fail now; the next fetch goes on from here
    :raises ImageError: what the source holds is not this file
    """
    source = _source(location, opener or open_url)
    try:
        with HashedFile(target + PARTIAL) as file:
            job = _Fetch(location, target, file, source, limit, progress, stop or threading.Event(), clock or Clock())
            found = job.run()
            if found != digest and job.pieced_together:
                job.forget()
                found = job.run()
        if found != digest:
            raise ImageError(
                object=f"file {location}",
                value=found,
                reason=f"damaged: its sha256 must be {digest}",
                hint="publish it again",
            )
        os.rename(target + PARTIAL, target)
        _remove(target + ORIGIN)
    except OSError as error:
        raise UnavailableError(object=f"file {location}", value=target, reason=str(error)) from error
    except ImageError:
        _remove(target + PARTIAL, target + ORIGIN)
        raise


class _Dropped(Exception):
    """The source broke off; another try may do better."""


class _Changed(_Dropped):
    """The source no longer has the file that was begun."""


@dataclass(frozen=True)
class _Answer:
    """A source's file from ``offset`` on; ``read`` fills a buffer, ``validator`` changes with the file."""

    read: Callable[[memoryview], int]
    offset: int
    total: Optional[int]
    validator: str


#: gives the file from an offset on if it still has this validator, else from its start
_Source = Callable[[int, str], ContextManager[_Answer]]


@dataclass
class _Fetch:
    location: str
    target: str
    file: HashedFile
    source: _Source
    limit: Optional[int]
    progress: Optional[Progress]
    stop: threading.Event
    clock: Clock
    #: whether bytes of more than one answer lie in the file
    pieced_together = False
    _reported = float("-inf")

    def __post_init__(self) -> None:
        self._validator, self._total = self._recall()

    def run(self) -> str:
        """Get all bytes; return their sha256."""
        for delay in (*_RETRY_S, None):
            try:
                if self._total is None or self.file.size != self._total:
                    self._attempt()
                self._report(final=True)
                return self.file.finish()
            except _Dropped as error:
                if isinstance(error, _Changed):
                    self.forget()
                if delay is None:
                    raise self._unavailable(str(error)) from None
                log.info("file %s: %s; again in %s s", self.location, error, delay)
                self.stop.wait(delay)
                self._check_stop()
        raise AssertionError("not reached")

    def forget(self) -> None:
        """Start from nothing."""
        self._validator, self._total, self.pieced_together = "", None, False
        self.file.restart()

    def _attempt(self) -> None:
        self._check_stop()
        with self.source(self.file.size, self._validator) as answer:
            if answer.offset != self.file.size:
                self.forget()
            self.pieced_together = self.pieced_together or answer.offset > 0
            self._check_limit(answer.total or 0)
            if (answer.validator, answer.total) != (self._validator, self._total):
                self._remember(answer)
            self._report()
            while self.file.append(functools.partial(self._fill, answer)):
                self._check_limit(self.file.size)
                self._report()
                self._check_stop()
        if answer.total is not None and self.file.size < answer.total:
            raise _Dropped(f"ended after {self.file.size} of {answer.total} bytes")

    def _fill(self, answer: _Answer, view: memoryview) -> int:
        """Read, but never more than was announced or, where nothing was, one byte more than may be."""
        end = answer.total if answer.total is not None else self.limit + 1 if self.limit is not None else None
        room = len(view) if end is None else min(len(view), end - self.file.size)
        return answer.read(view[:room]) if room else 0

    def _recall(self) -> Tuple[str, Optional[int]]:
        try:
            with open(self.target + ORIGIN, encoding="utf-8") as stream:
                origin = json.load(stream)
            if origin["location"] == self.location:
                return origin["validator"], origin["total"]
        except (FileNotFoundError, ValueError, KeyError):
            pass
        return "", None

    def _remember(self, answer: _Answer) -> None:
        self._validator, self._total = answer.validator, answer.total
        origin = {"location": self.location, "validator": self._validator, "total": self._total}
        write_atomically(self.target + ORIGIN, json.dumps(origin).encode())

    def _report(self, final: bool = False) -> None:
        now = self.clock.now()
        if self.progress and (final or abs(now - self._reported) >= _REPORT_S):
            self._reported = now
            self.progress(self.file.size, self._total)

    def _check_stop(self) -> None:
        if self.stop.is_set():
            raise self._unavailable("was stopped")

    def _check_limit(self, size: int) -> None:
        if self.limit is not None and size > self.limit:
            raise ImageError(
                object=f"file {self.location}",
                value=f"{size} bytes",
                reason=f"is longer than the {self.limit} bytes that were announced",
            )

    def _unavailable(self, reason: str) -> UnavailableError:
        return UnavailableError(object=f"file {self.location}", value=f"{self.file.size} bytes are here", reason=reason)


def _remove(*paths: str) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _source(location: str, opener: UrlOpener) -> _Source:
    if location.startswith(_WEB):
        return functools.partial(_open_web, opener, location)
    path = location[len(_FILE) :] if location.startswith(_FILE) else location
    if os.path.isabs(path):
        return functools.partial(_open_file, path)
    raise ImageError(
        object=f"file {location}", reason="its location is neither an absolute path nor file://, http:// or https://"
    )


@contextlib.contextmanager
def _open_file(path: str, offset: int, validator: str) -> Iterator[_Answer]:
    with open(path, "rb", buffering=0) as stream:
        status = os.fstat(stream.fileno())
        found = f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"
        start = offset if found == validator else 0
        os.lseek(stream.fileno(), start, os.SEEK_SET)
        yield _Answer(functools.partial(read_into, stream.fileno()), start, status.st_size, found)


@contextlib.contextmanager
def _open_web(opener: UrlOpener, location: str, offset: int, validator: str) -> Iterator[_Answer]:
    headers = {"Accept-Encoding": "identity", "User-Agent": "wnodes"}
    if offset and validator:
        headers.update({"Range": f"bytes={offset}-", "If-Range": validator})
    with _network(location):
        response = opener(urllib.request.Request(location, headers=headers), _STALL_S)  # noqa: S310 - _source took http and https only

    def read(view: memoryview) -> int:
        with _network(location):
            data = response.read1(min(len(view), _RECEIVE))
        view[: len(data)] = data
        return len(data)

    with contextlib.closing(response):
        found = _validator(response.headers)
        if response.status != 206:
            length = response.headers.get("Content-Length", "")
            yield _Answer(read, 0, int(length) if length.isdigit() else None, found)
            return
        part = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if not part or int(part[1]) != offset or found not in ("", validator):
            raise _Changed("sent another part than was asked for")
        yield _Answer(read, offset, int(part[2]), validator)


@contextlib.contextmanager
def _network(location: str) -> Iterator[None]:
    """Tell what may go better in a moment (_Dropped) from what will not."""
    try:
        yield
    except HTTPError as error:
        error.close()
        if error.code == 416:
            raise _Changed("has no such part any more") from None
        reason = f"HTTP {error.code} {error.reason}"
        if error.code in _BUSY or error.code >= 500:
            raise _Dropped(reason) from None
        raise UnavailableError(object=f"file {location}", reason=reason) from None
    except (OSError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, (ssl.SSLCertVerificationError, http.client.InvalidURL)):
            raise UnavailableError(object=f"file {location}", reason=str(cause)) from None
        raise _Dropped(str(cause) or type(cause).__name__) from None


def _validator(headers: Any) -> str:
    etag = str(headers.get("ETag", ""))
    return etag if etag.startswith('"') else str(headers.get("Last-Modified", ""))


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to http and https only, and never from https back to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Optional[urllib.request.Request]:
        scheme = urlsplit(newurl).scheme
        if scheme == "https" or (scheme == "http" and req.type == "http"):
            return super().redirect_request(req, fp, code, msg, headers, newurl)
        raise HTTPError(req.full_url, code, f"redirects to {newurl}, where we do not follow", headers, fp)


def open_url(request: urllib.request.Request, timeout: float) -> http.client.HTTPResponse:
    """Ask over http(s), through the proxies of the environment; certificates are verified.

    :param timeout: seconds without a byte
    """
    director = urllib.request.OpenerDirector()  # build_opener's would also read file:, ftp: and data:
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
    ):
        director.add_handler(handler)
    answer: http.client.HTTPResponse = director.open(request, timeout=timeout)
    return answer
