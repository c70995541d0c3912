# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all HTTP edges share: errors as JSON, who may call, metrics.

The model's dataclasses are the bodies: pydantic validates them, unknown keys are errors.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Coroutine, Iterable
from contextvars import ContextVar
from typing import Any

import prometheus_client
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic_core import PydanticSerializationError

from wnodes import support
from wnodes.engine.pulse import Pulse
from wnodes.model.caller import MANAGER, certificate_caller
from wnodes.model.codec import encode
from wnodes.model.errors import (
    AuthError,
    ConfigError,
    ImageError,
    NotFoundError,
    RequestError,
    StateError,
    UnavailableError,
    WnodesError,
)
from wnodes.support import Part

from . import connections, version
from .server import Peer

log = logging.getLogger(__name__)

#: what this process runs with; what is installed may meanwhile be newer
VERSION = version()

_STATUS: tuple[tuple[type[WnodesError], int], ...] = (
    (NotFoundError, 404),
    (StateError, 409),
    (RequestError, 422),
    (ConfigError, 422),
    (ImageError, 422),
    (AuthError, 403),
)


def status_of(error: WnodesError) -> int:
    """Return the HTTP status of an error of ours."""
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return 503 if error.transient else 500


def peer(request: Request) -> Peer:
    """Return who calls (a dependency)."""
    who: Peer = request.state.peer
    return who


def is_root(who: Peer) -> bool:
    """Whether the caller is root: a process of root's on this node, or a manager of the site."""
    return who.uid == 0 or (bool(who.names) and certificate_caller(who.names).role == MANAGER)


def root_only(request: Request) -> None:
    """Let only root pass (a dependency)."""
    who = peer(request)
    if not is_root(who):
        raise AuthError(
            object=f"{request.method} {request.url.path}", value=f"uid {who.uid}", reason="only root may do this"
        )


def root_of(request: Request) -> str:
    """Return which root calls, for people."""
    who = peer(request)
    return f"root on {certificate_caller(who.names).node}" if who.names else "root"


def strict(*classes: type[Any]) -> None:
    """Make pydantic refuse unknown keys in these dataclasses of the model."""
    for cls in classes:
        cls.__pydantic_config__ = {"extra": "forbid"}


def writable(data: Any) -> Any:
    """Return JSON-ready data that can be answered: as it is, or with question marks for what is no text in it.

    Bytes of a user's may become lone surrogates, which no answer can hold.
    """
    try:
        json.dumps(data, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return encode(data)
    return data


#: where the route that answers a request finds what its endpoint returned
_returned: ContextVar[list[Any]] = ContextVar("returned")


class _Route(APIRoute):
    """Answers whatever its endpoint returns, see ``router``."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
        @functools.wraps(endpoint)
        def kept(*args: Any, **named: Any) -> Any:
            result = endpoint(*args, **named)
            _returned.get().append(result)
            return result

        super().__init__(path, kept, **more)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        usual = super().get_route_handler()

        async def answer(request: Request) -> Response:
            results: list[Any] = []
            _returned.set(results)
            try:
                return await usual(request)
            except (PydanticSerializationError, UnicodeEncodeError):
                if not results:
                    raise
                return JSONResponse(encode(results[0]))

        return answer


def router() -> APIRouter:
    """Return a router below ``/v1`` whose endpoints, plain functions, may return what is no text in places.

    Bytes of a user's or a guest's may become lone surrogates: they are answered as question marks. FastAPI's own
    encoder, which knows none, is several times faster than ours, so it goes first.
    """
    return APIRouter(prefix="/v1", route_class=_Route)


def application(title: str) -> FastAPI:
    """Return an application that answers with our errors and has ``/healthz``: what this process runs with."""
    app = FastAPI(title=title, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.config = ""

    @app.exception_handler(WnodesError)
    async def _ours(request: Request, error: WnodesError) -> JSONResponse:
        return JSONResponse(writable(error.as_dict()), status_of(error))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        # The value stays out of it: bodies may carry secrets.
        return JSONResponse(writable(RequestError(object=key, reason=str(first["msg"])).as_dict()), 422)

    @app.exception_handler(Exception)
    async def _bug(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        answer = UnavailableError(object=title, reason="internal error", hint="its journal has the traceback")
        return JSONResponse(answer.as_dict(), 500)

    @app.get("/healthz")
    async def _health() -> dict[str, Any]:
        return {"ok": True, "version": VERSION, "config": app.state.config}

    return app


def evidence(*units: str) -> dict[str, Part]:
    """Return what every service puts into a support bundle: versions, its units' state and last words."""
    programs = {"systemd": ("systemctl", "--version"), "libvirt": ("virsh", "--version")}
    programs["qemu"] = ("qemu-system-x86_64", "--version")
    return {"versions.txt": support.versions(VERSION, programs), **support.units(*units)}


#: name (ending in ``_total``: it counts from the start of the process), help, labels, value
Sample = tuple[str, str, dict[str, str], float]

# when a process made a series is of no use to anyone, and doubles their number
prometheus_client.disable_created_metrics()


class _Samples(Collector):
    def __init__(self, read: Callable[[], Iterable[Sample]], common: dict[str, str]) -> None:
        self._read, self._common = read, common

    def collect(self) -> Iterable[Metric]:
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for name, text, own, value in self._read():
            labels = {**own, **self._common}
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = families.setdefault(name, kind(name, text, labels=list(labels)))
            family.add_metric(list(labels.values()), value)
        return families.values()


def alive(pulse: Pulse) -> Iterable[Sample]:
    """Yield how the loops of a service are, and how many connections it refused."""
    for loop, one in pulse.vitals().items():
        labels = {"loop": loop}
        yield "wnodes_loop_stuck", "1 if a loop does not go on", labels, float(bool(one.stuck))
        yield "wnodes_loop_threads", "Threads of a loop that are alive", labels, one.threads
        yield "wnodes_loop_late", "What a loop should have looked at half a minute ago", labels, one.late
        yield "wnodes_loop_errors_total", "Steps of a loop that failed and are tried again", labels, one.errors
    text = "Connections beyond what one user, or all, may have"
    yield "wnodes_connections_refused_total", text, {}, connections.refused()


def metrics(
    app: FastAPI,
    read: Callable[[], Iterable[Sample]],
    collectors: Iterable[Collector] = (),
    node: str = "",
    pulse: Pulse | None = None,
) -> None:
    """Add ``/metrics``: gauges, histograms and counters, and the process's own figures.

    :param read: yields the gauges as they are now
    :param collectors: histograms and counters, which go on counting between two looks
    :param node: becomes a label of every gauge
    :param pulse: the loops that drive the service
    """
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.ProcessCollector(registry=registry)
    common = {"node": node} if node else {}
    registry.register(_Samples(read, common))
    registry.register(_Samples(lambda: alive(pulse or Pulse()), common))
    for collector in collectors:
        registry.register(collector)

    @app.get("/metrics")
    def _metrics() -> Response:
        return Response(prometheus_client.generate_latest(registry), media_type=prometheus_client.CONTENT_TYPE_LATEST)
