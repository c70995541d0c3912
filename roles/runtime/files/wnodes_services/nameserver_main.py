# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wnodes-nameserver: the directory for the whole site."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request

from wnodes.directory.base import Directory, Heartbeat, HostNames
from wnodes.directory.sqlite import SqliteDirectory
from wnodes.model.caller import certificate_caller
from wnodes.model.clock import Clock, Failpoints
from wnodes.model.errors import ImageError
from wnodes.model.image import Release, Rollout, TagEntry
from wnodes.model.lease import Lease
from wnodes.nameserver.config import NameserverConfig
from wnodes.nameserver.service import DirectoryView, user_caller

from . import edge
from .server import Entrance, Program, Tls, local_sockets, main, tcp_socket


@dataclass(frozen=True)
class LeaseBody:
    """Who renews the lease, for how many seconds it is good, and which name would be liked best."""

    owner: str
    ttl_s: float
    name: str = ""


@dataclass(frozen=True)
class RenewBody:
    """Whose leases to renew, and for how many seconds."""

    owner: str
    holders: tuple[str, ...]
    ttl_s: float


@dataclass(frozen=True)
class TagsBody:
    """Which tags point to what from now on."""

    tags: tuple[str, ...]
    release: Release


@dataclass(frozen=True)
class RolloutBody:
    """Which hypervisors use another release already; None: none does."""

    rollout: Rollout | None


edge.strict(LeaseBody, RenewBody, TagsBody, RolloutBody, Rollout, Release, HostNames)


def view_of(request: Request) -> DirectoryView:
    """Return the directory as the caller may use it; what that is, is DirectoryView's business."""
    peer = edge.peer(request)
    caller = user_caller(peer.uid) if peer.uid is not None else certificate_caller(peer.names)
    return DirectoryView(request.app.state.directory, caller)


CallersView = Annotated[DirectoryView, Depends(view_of)]
router = edge.router()


@router.put("/leases/{holder}")
def lease(view: CallersView, holder: str, body: LeaseBody) -> Lease:
    return view.lease(holder, body.owner, body.ttl_s, body.name)


@router.post("/renewals")
def renew(view: CallersView, body: RenewBody) -> tuple[Lease, ...]:
    return view.renew(body.owner, body.holders, body.ttl_s)


@router.delete("/leases/{holder}")
def release(view: CallersView, holder: str, epoch: int) -> dict[str, bool]:
    return {"released": view.release(holder, epoch)}


@router.get("/leases")
def leases(view: CallersView) -> tuple[Lease, ...]:
    return view.leases()


@router.put("/pool")
def set_host_names(view: CallersView, body: HostNames) -> dict[str, bool]:
    view.set_host_names(body)
    return {"ok": True}


@router.get("/tags")
def tags(view: CallersView) -> tuple[TagEntry, ...]:
    return view.tags()


@router.get("/tags/{tag}")
def tag(view: CallersView, tag: str) -> TagEntry:
    return view.tag(tag)


@router.post("/tags")
def set_tags(view: CallersView, body: TagsBody) -> tuple[TagEntry, ...]:
    return view.set_tags(body.tags, body.release)


@router.put("/tags/{tag}/rollout")
def roll_out(view: CallersView, tag: str, body: RolloutBody) -> TagEntry:
    return view.roll_out(tag, body.rollout)


@router.get("/tags/{tag}/history")
def history(view: CallersView, tag: str) -> tuple[TagEntry, ...]:
    return view.history(tag)


@router.delete("/tags/{tag}")
def remove_tag(view: CallersView, tag: str) -> dict[str, bool]:
    return {"removed": view.remove_tag(tag)}


@router.get("/config/{scope:path}")
def config_of(view: CallersView, scope: str) -> dict[str, Any]:
    return view.config(scope)


@router.put("/config/{scope:path}")
def set_config(view: CallersView, scope: str, body: dict[str, Any]) -> dict[str, bool]:
    view.set_config(scope, body)
    return {"ok": True}


@router.put("/heartbeats/{role}/{host}")
def beat(view: CallersView, role: str, host: str, body: dict[str, Any]) -> dict[str, bool]:
    view.beat(Heartbeat(role, host, status=edge.writable(body)))
    return {"ok": True}


@router.get("/heartbeats")
def heartbeats(view: CallersView) -> tuple[Heartbeat, ...]:
    return view.heartbeats()


@router.delete("/hosts/{host}")
def forget(view: CallersView, host: str) -> dict[str, tuple[str, ...]]:
    return {"dropped": view.forget(host)}


def expiries(entries: Iterable[TagEntry]) -> Iterable[tuple[str, int]]:
    """Yield the tags whose images expire, and when (seconds since the epoch)."""
    for entry in entries:
        with suppress(ImageError):  # nodes refuse what can't be read, and say so
            expires = entry.release.claims().expires
            if expires:
                yield entry.tag, expires


def application(directory: Directory, config: NameserverConfig, clock: Clock) -> FastAPI:
    """Return the directory's calls over HTTP."""
    app = edge.application("nameserver")
    app.state.directory = directory
    app.include_router(router)
    names = len(config.pool.pool().names)

    @app.get("/v1/status")
    def status() -> dict[str, Any]:
        return {
            "ok": True,
            "problems": [],
            "heartbeat_s": config.heartbeat_s,
            "now": clock.now(),
            "pool": names,
            "leased": len(directory.leases()),
        }

    def figures() -> Iterable[edge.Sample]:
        yield "wnodes_pool_names", "Host names that can be leased", {}, names
        yield "wnodes_leases", "Leases that have not run out", {}, len(directory.leases())
        entries = directory.tags()
        yield "wnodes_tags", "Image tags", {}, len(entries)
        for tag, expires in expiries(entries):
            labels = {"image": tag}
            yield "wnodes_image_expiry_timestamp_seconds", "When an image expires, since the epoch", labels, expires
        for heartbeat in directory.heartbeats():
            labels = {"role": heartbeat.role, "host": heartbeat.host}
            yield "wnodes_heartbeat_age_seconds", "Age of the last heartbeat", labels, clock.now() - heartbeat.at

    edge.metrics(app, figures)
    return app


def build(config: NameserverConfig, clock: Clock, failpoints: Failpoints) -> Program:
    """Return the program with its directory opened and the pool of the configuration in it."""
    directory = SqliteDirectory(config.directory, clock)
    directory.set_host_names(config.pool.pool())

    def listen() -> list[Entrance]:
        tls = Tls.of("nameserver", config.pki_dir)
        return [Entrance(tcp_socket(config.listen, config.port), tls), *local_sockets(config.socket)]

    app = application(directory, config, clock)
    return Program(app, listen, stop=directory.close, metrics=config.metrics_listen)


if __name__ == "__main__":
    main("nameserver", NameserverConfig, build)
