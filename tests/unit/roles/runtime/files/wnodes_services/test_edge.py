# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors, health and metrics of every service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import prometheus_client
import pytest
from fastapi import Depends
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.roles.runtime.files.wnodes_services.conftest import AppClient
from wnodes.engine.pulse import Pulse
from wnodes.model.clock import FakeClock
from wnodes.model.errors import (
    AuthError,
    ConfigError,
    ImageError,
    NotFoundError,
    RequestError,
    StateError,
    UnavailableError,
    VirtError,
    WnodesError,
)
from wnodes_services import edge
from wnodes_services.server import Peer


@dataclass(frozen=True)
class Body:
    name: str
    secret: str = ""


edge.strict(Body)


def application() -> Any:
    app = edge.application("thing")

    @app.put("/v1/body")
    def body(body: Body) -> Body:
        return body

    @app.get("/v1/root", dependencies=[Depends(edge.root_only)])
    def root() -> dict[str, bool]:
        return {"ok": True}

    @app.get("/v1/bug")
    def bug() -> Any:
        raise RuntimeError("boom")

    @app.get("/v1/raise")
    def error() -> Any:
        raise StateError(object="VM a", reason="is not up")

    edge.metrics(app, lambda: [("a", "A", {"x": "1"}, 2.0), ("a", "A", {"x": "2"}, 3.0), ("b", "B", {}, 1.0)])
    return app


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (NotFoundError, 404),
        (StateError, 409),
        (RequestError, 422),
        (ConfigError, 422),
        (ImageError, 422),
        (AuthError, 403),
        (UnavailableError, 503),
        (VirtError, 503),
        (WnodesError, 500),
    ],
)
def test_each_kind_of_error_has_its_status(kind: type[WnodesError], status: int) -> None:
    assert edge.status_of(kind(object="a", reason="b")) == status


def test_our_errors_arrive_as_they_are(calling: Any) -> None:
    with pytest.raises(StateError, match="VM a: is not up"):
        calling(application(), uid=0).call("GET", "/v1/raise")


def test_a_bug_tells_nothing_but_that(calling: Any) -> None:
    with pytest.raises(UnavailableError, match="thing: internal error; its journal has the traceback"):
        calling(application(), uid=0).call("GET", "/v1/bug")


def test_bodies_are_checked_strictly_and_never_repeated(calling: Any) -> None:
    client = calling(application(), uid=0)
    assert client.call("PUT", "/v1/body", {"name": "a"}) == {"name": "a", "secret": ""}
    for wrong in ({"name": "a", "unknown": "hidden"}, {"secret": "hidden"}, {"name": 1, "secret": "hidden"}):
        with pytest.raises(RequestError) as caught:
            client.call("PUT", "/v1/body", wrong)
        assert "hidden" not in str(caught.value)
        assert caught.value.object.startswith("body.")


@settings(deadline=None)
@given(
    text=st.binary().map(lambda data: data.decode("utf-8", "surrogateescape"))
    | st.text(st.sampled_from("é\ud800\udfff"))
)
def test_whatever_a_service_holds_it_answers(text: str) -> None:
    app, router, calls = edge.application("thing"), edge.router(), list[str]()

    @router.get("/raw")
    def raw() -> Any:
        calls.append("raw")
        return {"text": [text], "_" + text: 1}

    @router.get("/typed")
    def typed(who: Annotated[Peer, Depends(edge.peer)], kind: str = "") -> tuple[Body, ...]:
        calls.append(f"typed {who.uid} {kind}")
        return (Body(text),)

    @router.get("/error")
    def error() -> Any:
        raise NotFoundError(object=text, reason="is not known")

    app.include_router(router)
    client, shown = AppClient(app, Peer(uid=0)), text.encode("utf-8", "replace").decode()
    assert client.call("GET", "/v1/raw") == {"text": [shown], "_" + shown: 1}
    assert client.call("GET", "/v1/typed?kind=x") == [{"name": shown, "secret": ""}]
    with pytest.raises(NotFoundError) as caught:
        client.call("GET", "/v1/error")
    assert caught.value.object == shown
    assert calls == ["raw", "typed 0 x"]


def test_a_bug_that_looks_like_an_answer_that_can_not_be_written_is_still_one(calling: Any) -> None:
    app, router = edge.application("thing"), edge.router()

    @router.get("/bug")
    def bug() -> str:
        return "\ud800".encode().decode()

    app.include_router(router)
    with pytest.raises(UnicodeEncodeError):
        calling(app, uid=0).call("GET", "/v1/bug")


def test_what_is_text_is_answered_as_it_is() -> None:
    data = {"text": "é\\ñ", "n": [1, None]}
    assert edge.writable(data) is data


BAIT = ("bait.wnodes", "hv1.bait.wnodes")
MANAGER = ("manager.wnodes", "head.manager.wnodes")


@pytest.mark.parametrize("caller", [{"uid": 2001}, {"names": BAIT}, {}])
def test_only_root_passes(calling: Any, caller: dict[str, Any]) -> None:
    app = application()
    for root in ({"uid": 0}, {"names": MANAGER}):
        assert calling(app, **root).call("GET", "/v1/root") == {"ok": True}
    with pytest.raises(AuthError, match="only root"):
        calling(app, **caller).call("GET", "/v1/root")


def test_health_tells_what_runs(calling: Any) -> None:
    app = application()
    app.state.config = "abc"
    assert calling(app).call("GET", "/healthz") == {"ok": True, "version": edge.VERSION, "config": "abc"}


def test_metrics_are_in_prometheus_format(calling: Any) -> None:
    text = calling(application()).ask("GET", "/metrics")[1].decode()
    assert 'a{x="1"} 2.0\na{x="2"} 3.0\n' in text
    assert "\nb 1.0\n" in text
    assert "process_resident_memory_bytes" in text


def test_nothing_else_is_served(calling: Any) -> None:
    client = calling(application())
    assert {client.ask("GET", path)[0] for path in ("/docs", "/redoc", "/openapi.json", "/")} == {404}


def test_the_dependency_is_the_peer(calling: Any) -> None:
    app = edge.application("thing")

    @app.get("/who")
    def who(peer: Annotated[Any, Depends(edge.peer)]) -> dict[str, Any]:
        return {"uid": peer.uid, "names": peer.names}

    assert calling(app, names=("a",)).call("GET", "/who") == {"uid": None, "names": ["a"]}


def test_histograms_and_counters_go_on_between_two_looks(calling: Any) -> None:
    app = edge.application("thing")
    took = prometheus_client.Histogram("took_seconds", "Took", ("phase",), buckets=(0.1, 1), registry=None)
    edge.metrics(app, lambda: [("a", "A", {"x": "1"}, 2.0)], (took,), "hv1")
    for seconds in (0.05, 0.5):
        took.labels("boot").observe(seconds)
    text = calling(app).ask("GET", "/metrics")[1].decode()
    assert 'took_seconds_bucket{le="0.1",phase="boot"} 1.0' in text
    assert 'took_seconds_count{phase="boot"} 2.0' in text
    assert 'a{node="hv1",x="1"} 2.0' in text
    assert "took_seconds_created" not in text


def test_the_loops_of_a_service_and_what_was_refused_have_figures(calling: Any) -> None:
    clock = FakeClock()
    pulse = Pulse(clock.now)
    pulse.loop("poll", 60.0).failed()
    clock.advance(61)
    app = edge.application("thing")
    edge.metrics(app, tuple, node="hv1", pulse=pulse)
    text = calling(app).ask("GET", "/metrics")[1].decode()
    assert 'wnodes_loop_stuck{loop="poll",node="hv1"} 1.0' in text
    assert 'wnodes_loop_errors_total{loop="poll",node="hv1"} 1.0' in text
    assert "# TYPE wnodes_loop_errors_total counter" in text
    assert 'wnodes_connections_refused_total{node="hv1"}' in text
