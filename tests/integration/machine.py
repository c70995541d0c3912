# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole hypervisor on a libvirt and QEMU of its own, with the directory in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

from tests.integration.libvirt_fixture import PrivateLibvirt
from tests.releases import TAG
from wnodes.directory.base import HostName, HostNames
from wnodes.directory.sqlite import SqliteDirectory
from wnodes.hypervisor.config import HypervisorConfig
from wnodes.hypervisor.service import Hypervisor
from wnodes.image.fake import FakeTrust
from wnodes.model.clock import Clock
from wnodes.model.image import CachedImage, Image, Release
from wnodes.model.lease import NetworkSettings
from wnodes.model.resources import Resources
from wnodes.model.vm import Mount, VmRequest
from wnodes.nameserver.config import NameserverAccess
from wnodes.virt.guest import GuestAgent
from wnodes.virt.libvirt_host import LibvirtHost


class Images:
    """The worker image where it is, for every digest."""

    def __init__(self, cached: CachedImage) -> None:
        self._cached = cached

    def ensure(self, image: Image) -> CachedImage:
        return replace(self._cached, image=image)

    def progress(self) -> dict[str, tuple[int, int, float]]:
        return {}

    def scrub(self) -> tuple[str, ...]:
        return ()


class Machine(SimpleNamespace):
    """A node: private libvirt, directory in memory, hypervisor; ``hypervisor`` changes with each restart."""

    def build(self) -> None:
        self.host = LibvirtHost(self.libvirt.uri, timeout_s=5.0)
        self.hypervisor = Hypervisor(self.config, self.host, self.images, self.directory, FakeTrust())
        self.hypervisor.start()

    def ask(self, vm_id: str, tag: str = TAG, scratch_mib: int = 512) -> None:
        home = Mount(str(self.libvirt.folder / "home"), "/home")
        software = Mount(str(self.libvirt.folder / "home"), "/opt/site", readonly=True)
        self.hypervisor.create(VmRequest(vm_id, "alice", tag, Resources(1, 512, scratch_mib), (home, software)))

    def guest(self, script: str, vm_id: str = "vm1") -> str:
        output = GuestAgent(self.host, self.hypervisor.get(vm_id).uuid).run(script, 60)
        assert output.rc == 0, output
        return output.stdout


@contextmanager
def running(image: CachedImage, published: Release, accel: str, names: int = 2, **config: object) -> Iterator[Machine]:
    """Give a node that works."""
    libvirt = PrivateLibvirt()
    machine = Machine(libvirt=libvirt, images=Images(image))
    try:
        libvirt.start()
        home = libvirt.folder / "home"
        home.mkdir()
        (home / "greeting").write_text("hello from the node\n")
        machine.directory = SqliteDirectory(":memory:", Clock())
        machine.directory.set_host_names(
            HostNames(
                NetworkSettings(24, "10.0.2.2", ("10.0.2.3",), "lab"),
                tuple(HostName(f"vwn-{i}", f"52:54:00:00:01:{i:02x}", f"10.0.2.{i}") for i in range(100, 100 + names)),
            )
        )
        machine.directory.set_tags((TAG,), published)
        settings = {
            "host": "hv1",
            "nameserver": NameserverAccess("https://head"),
            "state_dir": str(libvirt.folder / "state"),
            "libvirt_uri": libvirt.uri,
            "bridge": "",
            "accel": accel,
            "mounts_allowed": (str(home),),
            "heartbeat_s": 1.0,
            **config,
        }
        # each value has the type of its key, which a dict can't tell
        machine.config = HypervisorConfig(**settings)  # type: ignore[arg-type]
        machine.build()
        yield machine
        machine.hypervisor.stop()
        machine.directory.close()
    finally:
        libvirt.stop()
