# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command line can see: the whole site on the nameserver's machine, else this node."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wnodes import jsonhttp
from wnodes.directory.base import Heartbeat
from wnodes.hypervisor.client import HypervisorClient
from wnodes.jsonhttp import JsonClient, unix_client
from wnodes.model.clock import Clock
from wnodes.model.codec import encode
from wnodes.model.errors import UnavailableError, WnodesError
from wnodes.model.hostlist import chosen
from wnodes.model.vm import told_apart
from wnodes.nameserver.client import NameserverClient
from wnodes.nameserver.service import told
from wnodes.nameserver.services import DOWN, OK, Service, service, silence_limit_s
from wnodes.nameserver.services import PROBLEM as PROBLEM

RUN_DIR = "/run/wnodes"
#: where this machine's certificates are
PKI_DIR = jsonhttp.PKI_DIR
NODE_ROLES = ("bait", "hypervisor")


@dataclass(frozen=True)
class SiteView:
    """What can be seen now.

    :param scope: ``site`` or ``node``
    :param jobs: as the baits tell them (see bait/explain.py), oldest first
    :param vms: encoded Vm, each with ``hypervisor``, its node, and ``console``, its last lines where it is broken
    :param now: seconds since the epoch, by the clock of whoever told
    """

    scope: str
    now: float
    services: tuple[Service, ...]
    jobs: tuple[dict[str, Any], ...]
    vms: tuple[dict[str, Any], ...]

    @property
    def nodes(self) -> tuple[str, ...]:
        """The hosts that have a bait or a hypervisor."""
        return tuple(sorted({service.host for service in self.services if service.role in NODE_ROLES}))

    def of(self, role: str, host: str) -> Service | None:
        """Return a service of a host, if it was ever heard of."""
        return next((one for one in self.services if (one.role, one.host) == (role, host)), None)

    def narrowed(self, wanted: Sequence[str]) -> SiteView:
        """Return what concerns the hosts meant by names, lists and patterns; all of it where none is given.

        :raises NotFoundError: one of them means no host
        """
        hosts = set(chosen(wanted, (service.host for service in self.services)))
        if not wanted or self.scope == "node":
            return self
        services = tuple(service for service in self.services if service.host in hosts)
        jobs = tuple(job for job in self.jobs if job.get("bait") in hosts)
        vms = tuple(vm for vm in self.vms if vm["hypervisor"] in hosts)
        return replace(self, services=services, jobs=jobs, vms=vms)

    @property
    def hints(self) -> tuple[str, ...]:
        """What keeps all jobs from their VMs without being a problem of a service."""
        told = [service.detail.get("images") for service in self.services if service.role == "hypervisor"]
        images = [image for listed in told for image in listed or () if isinstance(image, dict)]
        where = "here" if self.scope == "node" else "on any node"
        if not told or None in told or any(image.get("state") == "ready" for image in images):
            return ()
        if images:
            return (f"no job can have a VM yet: no image is ready {where}; `wnodes images list` on the head node",)
        cure = "the playbook image_build builds and publishes one, `wnodes images publish` an existing one"
        return (f"no job can have a VM yet: there are no images {where}; {cure}",)

    @property
    def ok(self) -> bool:
        """Whether all services are well."""
        return all(service.state == OK for service in self.services)


def socket(service: str) -> str:
    """Return where a service of this machine answers."""
    return os.path.join(RUN_DIR, f"{service}.sock")


def this_host() -> str:
    """Return this machine's name as nodes are named: without its domain."""
    return os.uname().nodename.partition(".")[0]


def nameserver() -> NameserverClient:
    """Return the nameserver of this machine.

    :raises UnavailableError: it is another machine's business
    """
    path = socket("nameserver")
    if not os.path.exists(path):
        raise UnavailableError(object="nameserver", value=path, reason="is not here", hint="run this on the head node")
    return NameserverClient.local(path)


def look(clock: Clock) -> SiteView:
    """Return what can be seen from here.

    :raises UnavailableError: there is no service of ours here, or the nameserver of this machine does not answer
    """
    if os.path.exists(socket("nameserver")):
        return site_view(nameserver())
    here = [service for service in NODE_ROLES if os.path.exists(socket(service))]
    if not here:
        raise UnavailableError(
            object="wnodes", value=RUN_DIR, reason="no service has a socket here",
            hint="run this on the head node or on a node with bait and hypervisor; "
            "`systemctl status 'wnodes-*'` tells what is installed",
        )  # fmt: skip
    return node_view(clock, unix_client("bait", socket("bait")), HypervisorClient.local(socket("hypervisor")))


def site_view(directory: NameserverClient) -> SiteView:
    """Return what the heartbeats at the nameserver say."""
    own = directory.status()
    now, limit_s = float(own["now"]), silence_limit_s(own)
    services = [Service("nameserver", this_host(), OK, (), 0.0, {"names": own["pool"], "leased": own["leased"]})]
    jobs: list[dict[str, Any]] = []
    vms: list[dict[str, Any]] = []
    for beat in directory.heartbeats():
        services.append(service(beat, now, limit_s))
        jobs += told(beat, "jobs")
        vms += [_vm(vm, beat.host) for vm in told(beat, "vms")]
    return SiteView("site", now, tuple(services), _with_vms(jobs, vms), _by_age(vms))


def node_view(clock: Clock, bait: JsonClient, hypervisor: HypervisorClient) -> SiteView:
    """Return what bait and hypervisor of this node say."""
    host = this_host()
    vms: list[dict[str, Any]] = []

    def ask_bait() -> dict[str, Any]:
        return dict(bait.call("GET", "/v1/status"))

    def ask_hypervisor() -> dict[str, Any]:
        vms.extend(_vm(encode(vm), host) for vm in hypervisor.list())
        return dict(encode(hypervisor.status()))

    services = []
    jobs: list[dict[str, Any]] = []
    asks: tuple[tuple[str, Callable[[], dict[str, Any]]], ...] = (("bait", ask_bait), ("hypervisor", ask_hypervisor))
    for role, ask in asks:
        try:
            status = ask()
        except WnodesError as error:
            services.append(Service(role, host, DOWN, (str(error),), 0.0, {}))
            continue
        jobs += status.get("jobs", ())
        services.append(service(Heartbeat(role, host, 0.0, status), 0.0, 1.0, heard=False))
    return SiteView("node", clock.now(), tuple(services), _with_vms(jobs, vms), _by_age(vms))


def _vm(vm: dict[str, Any], host: str) -> dict[str, Any]:
    reason, console = told_apart(str(vm.get("reason", "")))
    return {**vm, "hypervisor": host, "reason": reason, "console": console}


def _with_vms(jobs: list[dict[str, Any]], vms: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return jobs by age; one whose VM is not ready yet gets its name already. A VM has its job's request id."""
    names = {vm["request"]["id"]: (vm.get("lease") or {}).get("name", "") for vm in vms if "request" in vm}
    return _by_age([{**job, "host": job.get("host") or names.get(job["id"], "")} for job in jobs])


def _by_age(items: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    return tuple(sorted(items, key=lambda item: item["history"][0]["at"] if item.get("history") else 0.0))


def hosts(view: SiteView) -> list[dict[str, Any]]:
    """Return what each node does, a line each."""
    return [_host(view, host) for host in view.nodes]


def _host(view: SiteView, host: str) -> dict[str, Any]:
    bait, hypervisor = (view.of(role, host) for role in NODE_ROLES)
    asked, has = (service.detail if service else {} for service in (bait, hypervisor))
    here = [service for service in (bait, hypervisor) if service]
    images = has.get("images")
    ready = [image["tag"] for image in images or () if isinstance(image, dict) and image.get("state") == "ready"]
    return {
        "host": host,
        "bait": bait.state if bait else "",
        "hypervisor": hypervisor.state if hypervisor else "",
        "drain": asked.get("drain"),
        "jobs": sum(job["state"] != "CLOSED" for job in view.jobs if view.scope == "node" or job.get("bait") == host),
        "vms": sum(vm["state"] != "GONE" for vm in view.vms if vm["hypervisor"] == host),
        "waiting": sum(kind.get("waiting", 0) for kind in asked.get("pool", ())),
        "node": has.get("node"),
        "images": ready if images is not None else list(has.get("tags", ())),
        "accel": has.get("accel", ""),
        "age_s": max((service.age_s for service in here), default=0.0),
        "problems": [f"{service.role}: {problem}" for service in here for problem in service.problems],
    }


def seconds(item: dict[str, Any], now: float) -> dict[str, float]:
    """Return the seconds a job or VM spent in each state; the last one counts up to ``now`` unless it is an end."""
    moves = item.get("history", [])
    spent: dict[str, float] = {}
    for move, after in zip(moves, [*moves[1:], {"at": now}], strict=True):
        if move["state"] not in ("CLOSED", "GONE"):
            spent[move["state"]] = spent.get(move["state"], 0.0) + max(0.0, after["at"] - move["at"])
    return spent


def find_job(view: SiteView, key: str) -> dict[str, Any] | None:
    """Return the last record of a job by its id, the batch system's or ours, with those of its ``earlier`` attempts."""
    found = next((job for job in reversed(view.jobs) if key in (job["lrms_id"], job["id"])), None)
    if found is None:
        return None
    same = [job for job in view.jobs if job["lrms_id"] == found["lrms_id"] and job["uid"] == found["uid"]]
    return {**found, "earlier": [job for job in same if job["history"][0]["at"] < found["history"][0]["at"]]}
