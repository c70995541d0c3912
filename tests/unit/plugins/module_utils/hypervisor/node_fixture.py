# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor over a fake host and a real directory in memory, driven by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from tests.releases import MANIFEST, RELEASE, TAG
from wnodes.directory.base import Directory, HostName, HostNames
from wnodes.directory.sqlite import SqliteDirectory
from wnodes.hypervisor.config import HypervisorConfig
from wnodes.hypervisor.files import VmFiles
from wnodes.hypervisor.service import Hypervisor
from wnodes.image.fake import FakeTrust
from wnodes.model.clock import Failpoints, FakeClock
from wnodes.model.disk import DiskSpace
from wnodes.model.errors import DirectoryError
from wnodes.model.image import CachedImage, Image
from wnodes.model.lease import NetworkSettings
from wnodes.model.resources import Resources
from wnodes.model.vm import Mount, Vm, VmRequest
from wnodes.nameserver.config import NameserverAccess
from wnodes.process import Completed
from wnodes.virt.fake import FakeVmHost
from wnodes.virt.guest import read_assignments
from wnodes.virt.policy import domain_uuid
from wnodes.virt.surroundings import NOWHERE

IMAGE = MANIFEST.image(RELEASE.location)


class Crash(BaseException):
    """The process dies here; BaseException, so that nothing of ours can catch it."""


def crash() -> None:
    raise Crash


def request(vm_id: str = "r1", **values: object) -> VmRequest:
    return replace(VmRequest(vm_id, "alice", TAG, Resources(1, 512)), **values)  # type: ignore[arg-type]


class Images:
    """An image cache in ``folder``; ``error`` is raised by ``ensure``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.error: Exception | None = None
        self.scrubs, self.damaged = 0, ()
        self.ensured: list[str] = []
        self.under_way: dict[str, tuple[int, int, float]] = {}

    def scrub(self) -> tuple[str, ...]:
        self.scrubs += 1
        return self.damaged

    def progress(self) -> dict[str, tuple[int, int, float]]:
        return self.under_way

    def ensure(self, image: Image) -> CachedImage:
        if self.error is not None:
            raise self.error
        self.ensured.append(image.digest)
        disk = self.folder / f"{image.digest}.qcow2"
        if not disk.exists():
            self.folder.mkdir(exist_ok=True)
            disk.write_text("disk")
        return CachedImage(image, str(disk), "/images/vmlinuz", "/images/initrd")


class Tools:
    """Stands in for qemu-img and mke2fs; ``error`` is raised instead."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.argvs: list[list[str]] = []

    def run(self, argv: list[str], *, timeout: float) -> Completed:
        if self.error is not None:
            raise self.error
        self.argvs.append(argv)
        Path(argv[-1]).touch()
        return Completed(argv, 0, "", "")


class Nameserver:
    """The part of a directory that a hypervisor sees; ``down``: it does not answer."""

    def __init__(self, directory: Directory) -> None:
        self.directory, self.down = directory, False

    def __getattr__(self, name: str) -> Callable[..., object]:
        if self.down:
            raise DirectoryError(object="nameserver", reason="does not answer")
        return getattr(self.directory, name)


class Node:
    """One node; ``restart`` builds a new hypervisor on the same files, as after a crash."""

    def __init__(self, folder: Path, names: int = 4, **config: object) -> None:
        self.clock, self.images, self.tools = FakeClock(), Images(folder / "images"), Tools()
        self.host = FakeVmHost(self.clock.now)
        self.directory = SqliteDirectory(":memory:", self.clock)
        pool = tuple(HostName(f"vwn-{i}", f"52:54:00:00:01:{i:02x}", f"10.77.0.{i}") for i in range(100, 100 + names))
        self.directory.set_host_names(HostNames(NetworkSettings(24, "10.77.0.1", ("10.77.0.10",), "lab"), pool))
        self.directory.set_tags((TAG,), RELEASE)
        self.trust = FakeTrust()
        self.nameserver = Nameserver(self.directory)
        settings = {
            "host": "hv1",
            "nameserver": NameserverAccess("https://head:8443"),
            "state_dir": str(folder),
            "mounts_allowed": (str(folder),),
            "accel": "qemu",
            "template_cache_mib": 0,
            **config,
        }
        self.config = HypervisorConfig(**settings)  # type: ignore[arg-type]
        self.files = VmFiles(str(folder), self.tools.run)
        self.failpoints, self.problems = Failpoints(), ""
        self.available_mib, self.looks = 8192, 0
        self.busy, self.surroundings, self.disk = 1.0, NOWHERE, DiskSpace(200_000, 100_000)
        self.listening: dict[str, str] = {}
        self.observed: list[Vm] = []
        self._build()

    def _build(self) -> None:
        channels = SimpleNamespace(
            add=self.listening.__setitem__,
            remove=lambda vm_id: self.listening.pop(vm_id, None),
            start=lambda: None,
            stop=lambda: None,
        )
        self.hypervisor = Hypervisor(
            self.config,
            self.host,
            self.images,
            self.nameserver,  # type: ignore[arg-type]
            self.trust,
            clock=self.clock,
            failpoints=self.failpoints,
            files=self.files,
            channels=channels,  # type: ignore[arg-type]
            memory_mib=8192,
            node_problems=lambda: self.problems,
            observe=self.observed.append,
            available_mib=lambda: self.available_mib,
            pause=self._pause,
            disk=lambda _folder: self.disk,
            stretch=lambda: self.busy,
            surroundings=lambda: self.surroundings,
        )

    def _pause(self, seconds: float) -> None:
        self.looks += 1
        self.clock.advance(seconds)

    def restart(self) -> None:
        self.hypervisor.stop()
        self.listening.clear()
        self._build()

    def run(self, seconds: float = 0.0) -> None:
        """Let ``seconds`` pass, running every step when it is due."""
        end = self.clock.now() + seconds
        while True:
            self.hypervisor.run_due()
            due = self.hypervisor.next_due()
            if due is None or due > end:
                self.clock.advance(max(0.0, end - self.clock.now()))
                return
            self.clock.advance(max(0.0, due - self.clock.now()))

    def crash_at(self, place: str, seconds: float = 5.0) -> bool:
        """Run until the process dies at ``place``; return whether it did."""
        self.failpoints.set(place, crash)
        try:
            self.run(seconds)
        except Crash:
            return True
        return False

    @property
    def templates(self) -> list[Path]:
        """The folders of all templates, and of what is half made."""
        folder = Path(self.config.state_dir) / "templates"
        return sorted(folder.iterdir()) if folder.exists() else []

    def vm(self, vm_id: str = "r1") -> Vm:
        return self.hypervisor.get(vm_id)

    def state(self, vm_id: str = "r1") -> str:
        return self.vm(vm_id).state.value

    def make(self, vm_id: str = "r1", **values: object) -> Vm:
        """Ask for a VM and let everything happen that happens at once."""
        self.hypervisor.create(request(vm_id, **values))
        self.run()
        return self.vm(vm_id)

    def is_clean(self) -> bool:
        """Return whether nothing is left of any VM: no domain, lease, file."""
        self.run()
        left = (self.host.domains, self.directory.leases(), self.files.all(), self.listening)
        return not any(left)


def mount(folder: Path) -> Mount:
    return Mount(str(folder), "/home")


def clone_told(node: Node, vm_id: str = "r1") -> bool:
    """Return whether the guest was personalised as a clone, at last."""
    return read_assignments(node.host.domains[uuid(vm_id)].scripts[-1])["clone"] == "yes"


def uuid(vm_id: str = "r1") -> str:
    return domain_uuid(vm_id)
