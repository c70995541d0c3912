# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of VMs over a hypervisor on a real libvirt and QEMU: what they foretell is what they do, once."""

from __future__ import annotations

from functools import partial

import pytest

from ansible_collections.wnodes.farm.plugins.modules import vm, vm_info
from tests.integration.machine import running
from tests.releases import TAG
from tests.unit.plugins.modules.matrix import Step, only_reads, run, walk
from wnodes.model.image import CachedImage, Release

VM = {"id": "vm1", "tag": TAG, "memory_mib": 512}


def test_a_vm_is_made_never_changed_and_taken_away(
    worker_image: CachedImage,
    worker_release: Release,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with running(worker_image, worker_release, "qemu", template_cache_mib=0) as machine:
        for module in (vm, vm_info):
            monkeypatch.setattr(module, "backend", lambda socket: machine.hypervisor)

        def domains() -> list[str]:
            return sorted(domain.name for domain in machine.host.list())

        call = partial(run, vm, capsys=capsys)
        walk(call, domains, [Step("create", VM, differs=("vm",))])
        assert len(domains()) == 1
        only_reads(partial(run, vm_info, capsys=capsys), domains, [{}])
        walk(call, domains, [Step("change", {**VM, "cpus": 2}, refused="exists with other properties")])
        walk(call, domains, [Step("delete", {**VM, "state": "absent"}, differs=("vm",))])
        assert domains() == []
