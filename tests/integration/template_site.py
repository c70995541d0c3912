# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that starts VMs from templates: private libvirt, worker image, one folder a VM."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import tests.conftest  # noqa: F401  (gives the name wnodes)
from tests.integration.libvirt_fixture import PrivateLibvirt, until
from wnodes.model.clock import Clock
from wnodes.model.codec import decode, encode
from wnodes.model.errors import VirtError
from wnodes.model.image import CachedImage
from wnodes.model.lease import Lease, NetworkSettings
from wnodes.model.resources import Overheads, Resources
from wnodes.model.states import VmState
from wnodes.model.vm import Mount, Vm, VmRequest
from wnodes.process import run
from wnodes.virt import savefile
from wnodes.virt.clone import clone
from wnodes.virt.disks import make_overlay, make_scratch
from wnodes.virt.domain import Domain
from wnodes.virt.guest import GuestAgent
from wnodes.virt.libvirt_host import LibvirtHost
from wnodes.virt.personality import personalise, personality
from wnodes.virt.policy import HostFacts, VmPaths, domain_uuid, make_domain
from wnodes.virt.template import Template, Templates

ROOT = Path(__file__).resolve().parents[2]
#: TCG everywhere, so that a figure of one machine says something about another
ACCEL = "qemu"
SIZE = Resources(1, 512, 256)


class Site:
    """The node.

    :ivar kind: image, size and accelerator of its VMs, as :class:`Templates` wants them
    """

    overheads = Overheads()
    clock = Clock()

    def __init__(self, folder: str, uri: str, image: CachedImage, resources: Resources) -> None:
        self.folder, self.uri, self.image, self.resources = Path(folder), uri, image, resources
        self.kind = (image, resources, ACCEL)
        self.host = LibvirtHost(uri)
        self.templates = self.new_templates()
        self.libvirt: PrivateLibvirt

    def new_templates(self) -> Templates:
        """Return the templates as a new process sees them."""
        return Templates(str(self.folder / "templates"), self.host, self.overheads, self.clock)

    def build(self) -> Template:
        return self.templates.build(*self.kind)

    def told(self, vm: Vm) -> dict[str, Any]:
        """Return what another process has to know to start ``vm``."""
        return {
            "site": [str(self.folder), self.uri, encode(self.image), encode(self.resources)],
            "number": int(vm.id.removeprefix("vm")),
        }

    def vm(self, number: int) -> Vm:
        mount = Mount(str(self.folder / "home"), "/mnt/home")
        request = VmRequest(f"vm{number}", "alice", "worker", self.resources, (mount,))
        lease = Lease(
            name=f"vwn-{number}",
            mac=f"52:54:00:00:01:{number:02x}",
            address=f"10.0.2.{number + 100}",
            network=NetworkSettings(24, "10.0.2.2", ("10.0.2.3",), "lab"),
            holder=request.id,
            owner="hv1",
            epoch=1,
            expires=2e9,
        )
        return Vm(request, VmState.PERSONALISING, lease=lease, uuid=domain_uuid(request.id))

    @staticmethod
    def lease(vm: Vm) -> Lease:
        assert vm.lease is not None
        return vm.lease

    def domain(self, vm: Vm) -> Domain:
        folder = self.folder / "vms" / vm.id
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        files = VmPaths(
            overlay=str(folder / "root.qcow2"),
            scratch=str(folder / "scratch.raw") if self.resources.scratch_mib else "",
            console=str(folder / "console.log"),
            channel=str(folder / "channel.sock"),
        )
        return make_domain(vm.request, self.lease(vm), self.image, files, HostFacts(ACCEL, "", self.overheads))

    def clone(self, vm: Vm) -> dict[str, float]:
        template = self.templates.find(*self.kind)
        assert template is not None
        return clone(self.host, template, self.domain(vm))

    def start(self, domain: Domain) -> None:
        """Start a domain with fresh disks."""
        make_overlay(run, self.image.chain[0], domain.disks[0].path)
        for disk in domain.disks[1:]:
            make_scratch(run, disk.path, self.resources.scratch_mib)
        self.host.start(domain)

    def boot(self, vm: Vm, domain: Domain | None = None) -> None:
        """Start ``vm`` without a template."""
        guest = GuestAgent(self.host, vm.uuid)
        self.start(domain or self.domain(vm))

        def answers() -> bool:
            try:
                guest.ping()
            except VirtError:
                return False
            return True

        until("the agent answers", answers, 120.0)
        personalise(guest, personality(vm), time.time(), 60)

    def ready(self, vm: Vm) -> dict[str, float]:
        """Start ``vm``; return the seconds that each phase took."""
        return {**self.clone(vm), "identity": self.personalise(vm)}

    def personalise(self, vm: Vm) -> float:
        """Make the clone ``vm`` what it should be; return the seconds that it took."""
        return personalise(GuestAgent(self.host, vm.uuid), personality(vm, clone=True), time.time(), 60)

    def guest(self, vm: Vm, script: str) -> str:
        output = GuestAgent(self.host, vm.uuid).run(script, 60)
        assert output.rc == 0, output
        return output.stdout

    def clock_off(self, vm: Vm) -> float:
        """Return by how many seconds at least a guest's clock is wrong."""
        asked = time.time()
        clock = GuestAgent(self.host, vm.uuid).clock()
        return min(0.0, clock - asked) + max(0.0, clock - time.time())

    def end(self, vm: Vm) -> None:
        self.host.destroy(vm.uuid)
        shutil.rmtree(self.folder / "vms" / vm.id)


@contextmanager
def started(
    image: CachedImage,
    resources: Resources = SIZE,
    **libvirt_has: str,
) -> Iterator[Site]:
    """Give a node on a libvirt of its own, see :class:`PrivateLibvirt`."""
    libvirt = PrivateLibvirt(**libvirt_has)
    try:
        libvirt.start()
        home = libvirt.folder / "home"
        home.mkdir()
        (home / "greeting").write_text("hello from the node\n")
        site = Site(str(libvirt.folder), libvirt.uri, image, resources)
        site.libvirt = libvirt
        yield site
        site.host.close()
    finally:
        libvirt.stop()


def _from(text: str) -> tuple[Site, dict[str, Any]]:
    told = json.loads(text)
    folder, uri, image, resources = told["site"]
    return Site(folder, uri, decode(CachedImage, image), decode(Resources, resources)), told


def _die(*_: object) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def killed_restore(text: str) -> None:
    """Start a VM, as another process was told to, and die when half of the memory has gone to libvirt."""
    site, told = _from(text)
    half = (site.build().description.stamps["memory.save"].size) // 2
    send = os.sendfile

    def sendfile(out: int, source: int, offset: int, count: int) -> int:
        return send(out, source, offset, count) if offset < half else _die()

    with mock.patch.object(savefile.os, "sendfile", sendfile):
        site.clone(site.vm(told["number"]))


def killed_build(text: str) -> None:
    """Build a template in another folder and die when its memory is to be saved."""
    site, told = _from(text)
    templates = Templates(told["root"], site.host, site.overheads, site.clock)
    with mock.patch.object(LibvirtHost, "save", _die):
        templates.build(*site.kind)
