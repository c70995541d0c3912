# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake host with templates on a real file system, image files and all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.virt.test_policy import CACHED, LEASE, OVERHEADS
from wnodes.model.clock import FakeClock
from wnodes.model.image import CachedImage
from wnodes.model.resources import Resources
from wnodes.model.states import VmState
from wnodes.model.vm import Mount, Vm, VmRequest
from wnodes.process import Completed
from wnodes.virt.domain import Domain
from wnodes.virt.fake import FakeVmHost
from wnodes.virt.policy import HostFacts, VmPaths, domain_uuid, make_domain
from wnodes.virt.template import Templates


def killed_build(host: FakeVmHost, build: Callable[[], object]) -> None:
    """Let ``build`` be killed when memory is to be saved: nothing that would tidy up has any effect from there on."""

    def killed(*_args: object) -> None:
        host.destroy = lambda _uuid: False  # type: ignore[method-assign]  # undone below
        patch.setattr("wnodes.virt.template.shutil.rmtree", lambda *_args, **_more: None)
        raise KeyboardInterrupt

    host.save = killed  # type: ignore[method-assign]  # undone below
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        build()
    del host.save, host.destroy


class Node:
    """A node: what it runs, it notes, and makes the file that is the last word."""

    def __init__(self, folder: Path, scratch_mib: int = 0) -> None:
        self.folder, self.host, self.clock = folder, FakeVmHost(), FakeClock()
        self.ran: list[Sequence[str]] = []
        self.busy = 1.0
        self.image = self._image()
        self.resources = Resources(1, 512, scratch_mib)
        self.kind = (self.image, self.resources, "qemu")
        self.templates = self.new_templates()

    def _image(self) -> CachedImage:
        layer, base = self.folder / "layer.qcow2", self.folder / "base.qcow2"
        layer.write_text("layer")
        base.write_text("base")
        return replace(CACHED, disk=str(layer), base=str(base))

    def new_templates(self) -> Templates:
        """Return the templates as a new process sees them."""
        how = (self.run, self.clock.advance, 60.0, lambda: self.busy)
        return Templates(str(self.folder / "templates"), self.host, OVERHEADS, self.clock, *how)

    def run(self, argv: Sequence[str], *, timeout: float) -> Completed:
        self.ran.append(tuple(argv))
        Path(argv[-1]).write_text(" ".join(argv))
        return Completed(argv, 0, "", "")

    def vm(self, name: str) -> Vm:
        request = VmRequest(
            name, "alice", "worker", self.resources, (Mount("/home", "/home"), Mount("/x", "/sw", True))
        )
        lease = replace(LEASE, name=name, holder=name)
        return Vm(request, VmState.STARTING, lease=lease, uuid=domain_uuid(name))

    def domain(self, name: str) -> Domain:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        scratch = str(folder / "scratch.raw") if self.resources.scratch_mib else ""
        files = VmPaths(str(folder / "root.qcow2"), scratch, str(folder / "console.log"), str(folder / "channel.sock"))
        vm = self.vm(name)
        assert vm.lease is not None
        return make_domain(vm.request, vm.lease, self.image, files, HostFacts("qemu", "", OVERHEADS))
