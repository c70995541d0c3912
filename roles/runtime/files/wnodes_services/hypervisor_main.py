# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wnodes-hypervisor: the VMs of this node, on a Unix socket."""

from __future__ import annotations

import os
import pwd
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request

from wnodes import support
from wnodes.engine.pulse import Pulse
from wnodes.hypervisor.api import ConsolePart, HypervisorApi, HypervisorStatus
from wnodes.hypervisor.config import HypervisorConfig
from wnodes.hypervisor.maintenance import LeaseFigures
from wnodes.hypervisor.service import Hypervisor
from wnodes.image.cache import CacheEntry, ImageCache
from wnodes.image.layer import LayerMaker
from wnodes.image.sealed_cache import SealedImageCache
from wnodes.image.signature import Keyring
from wnodes.image.trust import ReleaseTrust
from wnodes.model.clock import Clock, Failpoints
from wnodes.model.errors import ConfigError, NotFoundError, RequestError, UnavailableError
from wnodes.model.image import CachedImage
from wnodes.model.vm import GuestFile, GuestSetup, Mount, Vm, VmEvent, VmRequest, VmUser
from wnodes.nameserver.client import NameserverClient
from wnodes.support import Part
from wnodes.virt.accel import KVM
from wnodes.virt.libvirt_host import LibvirtHost

from . import doctor, edge
from .metrics import VmMetrics
from .server import Entrance, Program, Tls, local_sockets, main

#: the longest that a caller may wait for events, in seconds
MAX_WAIT_S = 60.0

edge.strict(VmRequest, VmUser, Mount, GuestSetup, GuestFile)


def hypervisor_of(request: Request) -> HypervisorApi:
    """Return the hypervisor (a dependency)."""
    api: HypervisorApi = request.app.state.hypervisor
    return api


Api = Annotated[HypervisorApi, Depends(hypervisor_of)]
router = edge.router()
root_only = [Depends(edge.root_only)]


def visible(request: Request, api: Api) -> tuple[Vm, ...]:
    """Return the VMs the caller may see: all of them to root, else those that are its own (a dependency)."""
    who = edge.peer(request)
    if edge.is_root(who):
        return api.list()
    try:
        name = pwd.getpwuid(-1 if who.uid is None else who.uid).pw_name
    except (KeyError, OverflowError):
        return ()
    return tuple(vm for vm in api.list() if vm.request.owner == name)


Visible = Annotated[tuple[Vm, ...], Depends(visible)]


@router.put("/vms/{vm_id}", dependencies=root_only)
def create(api: Api, vm_id: str, body: VmRequest) -> Vm:
    """Begin to make a VM."""
    if body.id != vm_id:
        raise RequestError(object=f"VM {vm_id}", value=body.id, reason="the body is about another VM")
    return api.create(body)


@router.get("/vms")
def vms(mine: Visible) -> tuple[Vm, ...]:
    """Return the VMs."""
    return mine


@router.get("/vms/{vm_id}")
def get(mine: Visible, vm_id: str) -> Vm:
    """Return one VM, by request id or by host name; somebody else's is not found."""
    for vm in (*(vm for vm in mine if vm.id == vm_id), *(vm for vm in mine if vm.name == vm_id)):
        return vm
    raise NotFoundError(object=f"VM {vm_id}", reason="is not known here")


@router.get("/vms/{vm_id}/console", dependencies=root_only)
def console(api: Api, mine: Visible, vm_id: str, offset: int) -> ConsolePart:
    """Return a piece of a VM's console log, by request id or by host name."""
    return api.console(get(mine, vm_id).id, offset)


@router.post("/vms/{vm_id}/setup", dependencies=root_only)
def setup(api: Api, vm_id: str, body: GuestSetup) -> dict[str, bool]:
    """Write files and run commands inside. What they are is never logged."""
    api.setup(vm_id, body)
    return {"ok": True}


@router.post("/vms/{vm_id}/use", dependencies=root_only)
def use(api: Api, vm_id: str, body: VmUser | None = None) -> Vm:
    """Mark a READY VM as IN_USE."""
    return api.use(vm_id, body)


@router.delete("/vms/{vm_id}", dependencies=root_only)
def destroy(api: Api, vm_id: str) -> Vm:
    """Begin to take a VM away."""
    return api.destroy(vm_id)


@router.get("/events", dependencies=root_only)
def events(api: Api, after: int, timeout_s: float = 0.0) -> tuple[VmEvent, ...]:
    """Return what happened since."""
    return api.events(after, min(max(timeout_s, 0.0), MAX_WAIT_S))


@router.get("/doctor", dependencies=root_only)
def checks() -> dict[str, Any]:
    """Return what the checks of this machine find that the hypervisor can make."""
    return doctor.report("hypervisor", edge.VERSION)


@router.get("/bundle", dependencies=root_only)
def bundle(request: Request) -> dict[str, str]:
    """Return the hypervisor's part of a support bundle."""
    own: dict[str, Part] = request.app.state.evidence()
    return support.collect({**edge.evidence("wnodes-hypervisor.service", "libvirtd.service"), **own})


@router.get("/status")
def status(api: Api) -> HypervisorStatus:
    """Return whether VMs can be had here."""
    return api.status()


def application(
    api: HypervisorApi,
    syslog_counts: Callable[[], dict[str, int]] = dict,
    metrics: VmMetrics | None = None,
    cached: Callable[[], Iterable[CacheEntry]] = tuple,
    evidence: Callable[[], dict[str, Part]] = dict,
    pulse: Pulse | None = None,
    leases: Callable[[], LeaseFigures] = LeaseFigures,
) -> FastAPI:
    """Return a hypervisor's calls over HTTP.

    :param syslog_counts: returns the VMs' log messages since the start by what became of them
    :param metrics: figures of the VMs that came and went
    :param cached: returns the images that are here
    :param evidence: returns what goes into a support bundle
    :param pulse: what drives the hypervisor
    :param leases: returns how the leases of the VMs are
    """
    seen = metrics or VmMetrics("")
    app = edge.application("hypervisor")
    app.state.hypervisor, app.state.evidence = api, evidence
    app.include_router(router)

    def figures() -> Iterable[edge.Sample]:
        now = api.status()
        yield "wnodes_hypervisor_ok", "1 if VMs can be had", {"accel": now.accel}, float(now.ok)
        yield "wnodes_templates", "Templates that VMs start from", {}, now.templates.count
        yield "wnodes_templates_bytes", "What templates take on disk", {}, now.templates.bytes
        for state, count in Counter(vm.state.value for vm in api.list()).items():
            yield "wnodes_vms", "VMs known, by state", {"state": state}, count
        for state, count in Counter(image.state for image in now.images).items():
            yield "wnodes_images", "Image tags as this node has them, by state", {"state": state}, count
        with suppress(UnavailableError):  # the other figures are as good as ever
            size = sum(entry.size for entry in cached())
            yield "wnodes_image_cache_bytes", "Room that cached images take", {}, size
        for fate, count in syslog_counts().items():
            yield "wnodes_syslog_messages", "VMs' log messages since the start, by their fate", {"fate": fate}, count
        held = leases()
        text = "Rounds in which not all leases were renewed"
        yield "wnodes_lease_renewals_failed_total", text, {}, held.failed
        if held.left_s is not None:
            text = "For how long the lease that ends first is good; below 0: its VM may have lost its name"
            yield "wnodes_lease_left_seconds", text, {}, held.left_s

    edge.metrics(app, figures, seen.collectors, seen.node, pulse)
    return app


def layer_maker(user: str) -> LayerMaker:
    """Return who makes layers as ``user``, who owns nothing else; empty: as this process."""
    if not user:
        return LayerMaker()
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise ConfigError(
            object="image_user", value=user, reason="there is no such user", hint="the role hypervisor makes it"
        ) from None
    # A unit of its own: other privileges, no network, and it may write nothing but what it is given.
    sandbox = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", f"--uid={user}", f"--gid={account.pw_gid}"]
    for setting in (
        "CacheDirectory=wnodes-image",
        "PrivateNetwork=yes",
        "PrivateTmp=yes",
        "ProtectHome=yes",
        "ProtectSystem=strict",
        "ReadWritePaths=/var/lib/wnodes/sealed",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "RestrictAddressFamilies=AF_UNIX",
        "MemoryMax=2G",
        "Environment=LIBGUESTFS_CACHEDIR=/var/cache/wnodes-image HOME=/var/cache/wnodes-image",
    ):
        sandbox += ["-p", setting]
    return LayerMaker(tuple(sandbox), (account.pw_uid, account.pw_gid))


def build(config: HypervisorConfig, clock: Clock, failpoints: Failpoints) -> Program:
    """Return the program around the real host."""

    # both ask back when they work; the hypervisor is there by then
    def in_use() -> set[str]:
        return hypervisor.images_in_use()

    def appliance(image: CachedImage) -> str:
        return "kvm" if hypervisor.accel(image) == KVM else "tcg"

    images, sealed = (os.path.join(config.state_dir, name) for name in ("images", "sealed"))
    cache = ImageCache(images, failpoints, limit_mib=config.image_cache_mib, in_use=in_use, clock=clock)
    metrics = VmMetrics(config.host)
    hypervisor = Hypervisor(
        config,
        LibvirtHost(config.libvirt_uri),
        SealedImageCache(cache, sealed, config.seal, layer_maker(config.image_user), appliance, in_use),
        NameserverClient.connect(config.nameserver, "hypervisor"),
        ReleaseTrust(
            Keyring(config.image_authority, config.image_signers, clock=clock),
            os.path.join(config.state_dir, "hypervisor", "versions.json"),
        ),
        clock=clock,
        failpoints=failpoints,
        observe=metrics.observe,
    )

    def listen() -> list[Entrance]:
        return local_sockets(os.path.join(config.run_dir, "hypervisor.sock"))

    tellers = (hypervisor.syslog_counts, metrics, cache.contents, hypervisor.evidence)
    app = application(hypervisor, *tellers, hypervisor.pulse, hypervisor.leases)
    tls = Tls.of("hypervisor", config.nameserver.pki_dir)
    started = (hypervisor.start, hypervisor.stop)
    return Program(app, listen, *started, config.metrics_listen, config.manage_listen, tls, hypervisor.pulse)


if __name__ == "__main__":
    main("hypervisor", HypervisorConfig, build)
