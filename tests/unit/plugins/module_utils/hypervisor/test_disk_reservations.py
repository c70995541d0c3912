# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No VM is made that could fill the disk, and one that QEMU has stopped is seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.releases import MANIFEST
from tests.unit.plugins.module_utils.hypervisor.node_fixture import Node, request, uuid
from wnodes.jsonhttp import error_from
from wnodes.model.disk import DiskSpace
from wnodes.model.errors import NoRoomError, RequestError, UnavailableError
from wnodes.model.resources import Resources
from wnodes.model.states import VmState
from wnodes.model.vm import VmRequest

FULL = NoRoomError(object="node", reason="no room")


def vm_request(vm_id: str, scratch_mib: int) -> VmRequest:
    return request(vm_id, resources=Resources(1, 512, scratch_mib))


def has(node: Node, free_mib: int, total_mib: int = 200_000) -> None:
    """Let the disk have so much beside what stays free."""
    node.disk = DiskSpace(total_mib, free_mib + node.config.min_free_mib)


def test_vms_are_made_until_the_disk_is_promised_away_and_again_when_one_went(node: Node) -> None:
    node.run()
    root_mib = MANIFEST.virtual_size >> 20
    has(node, 2 * (1000 + root_mib))
    for vm_id in ("r1", "r2"):
        node.hypervisor.create(vm_request(vm_id, 1000))
        node.run()
    with pytest.raises(NoRoomError, match="0 MiB are left") as caught:
        node.hypervisor.create(vm_request("r3", 1000))
    assert caught.value.transient
    assert caught.value.object == "VM request r3"
    assert "tried again" in caught.value.hint
    assert node.hypervisor.create(vm_request("r2", 1000)).state is VmState.READY, (
        "one that is there needs no room again"
    )
    assert [vm.id for vm in node.hypervisor.list()] == ["r1", "r2"], "it left nothing"
    node.hypervisor.destroy("r1")
    node.run()
    assert node.hypervisor.create(vm_request("r3", 1000)).state is VmState.PLANNED


def test_what_a_vm_has_written_is_not_booked_a_second_time(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    has(node, 3000)
    node.config = replace(node.config, overlay_mib=500)
    node.restart()
    node.run()
    node.hypervisor.create(vm_request("r1", 1000))
    node.run()
    has(node, 2000)  # it has filled 1000 of its 1500 MiB
    monkeypatch.setattr(node.files, "size_mib", lambda _vm_id: 1000)
    node.hypervisor.create(vm_request("r2", 1000))
    monkeypatch.setattr(node.files, "size_mib", lambda _vm_id: 9000)  # more than was booked gives nobody more
    has(node, 1499)
    with pytest.raises(NoRoomError):
        node.hypervisor.create(vm_request("r3", 1000))


def test_what_never_fits_is_refused_for_good(node: Node) -> None:
    has(node, 1000, total_mib=50_000)
    with pytest.raises(RequestError, match="ask for a smaller scratch disk or another node"):
        node.hypervisor.create(vm_request("r1", 50_000))


def test_a_disk_that_can_not_be_looked_at_is_no_disk_without_room(node: Node) -> None:
    def broken(_folder: str) -> DiskSpace:
        raise OSError(5, "Input/output error")

    node.hypervisor._disk._look = broken
    with pytest.raises(UnavailableError, match="Input/output error") as caught:
        node.hypervisor.create(vm_request("r1", 1))
    assert not isinstance(caught.value, NoRoomError)


def test_the_size_of_files_is_what_they_take(node: Node) -> None:
    assert node.files.size_mib("r1") == 0
    node.make()
    scratch = Path(node.files.of("r1", True).scratch)
    scratch.write_bytes(b"x" * (3 << 20))
    with scratch.open("ab") as file:
        file.truncate(1 << 30)
    assert node.files.size_mib("r1") == 3


def test_others_are_told_that_there_is_no_room() -> None:
    assert type(error_from(FULL.as_dict(), "hypervisor")) is NoRoomError


@pytest.mark.parametrize("used", [False, True])
def test_a_vm_that_qemu_has_stopped_is_broken_at_once_and_says_why(node: Node, used: bool) -> None:
    node.make()
    if used:
        node.hypervisor.use("r1")
    node.host.stall(uuid(), "disk vdb: no space is left for it on the node's disk")
    node.run()
    assert node.vm().state is VmState.BROKEN
    assert "QEMU has stopped it: disk vdb: no space is left" in node.vm().reason


def test_a_vm_that_is_stopped_while_it_boots_is_broken(node: Node) -> None:
    node.host.boots = False
    node.make()
    node.host.stall(uuid(), "disk vda: it could not be read or written")
    node.run()
    assert (node.vm().state, "could not be read" in node.vm().reason) == (VmState.BROKEN, True)
