# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a VM becomes a host of the batch system."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.bait.bait_fixture import flavour, pooled
from wnodes.bait.joining import Joining
from wnodes.hypervisor.fake import FakeHypervisor
from wnodes.lrms.base import HostState, WorkerNode
from wnodes.lrms.fake import FakeHost, FakeLrms
from wnodes.model.clock import Failpoints
from wnodes.model.errors import LrmsError, VirtError
from wnodes.model.resources import Resources
from wnodes.model.vm import GuestFile, GuestSetup, Vm, VmRequest

HOST = WorkerNode("vwn-100", "10.0.0.100", Resources(1, 512), "a_b_c")
ACCOUNT = (GuestFile("/etc/passwd", "alice"),)


class Slow(FakeLrms):
    """A batch system that hears of a host only when it is told to."""

    def guest_setup(self, host: WorkerNode) -> GuestSetup:
        setup = super().guest_setup(host)
        self.hosts.clear()
        return setup


@pytest.fixture
def hypervisor() -> FakeHypervisor:
    made = FakeHypervisor()
    made.create(VmRequest("x", "", "a_b_c", Resources(1, 512)))
    return made


def test_a_vm_is_set_up_once_with_all_that_is_asked_for_and_opened_when_it_is_there(hypervisor: FakeHypervisor) -> None:
    lrms = Slow()
    joining = Joining(lrms, hypervisor, Failpoints())
    assert [joining.step("x", HOST, ACCOUNT) for _ in range(3)] == [HostState.ABSENT] * 3
    (setup,) = hypervisor.setups["x"]
    assert [file.path for file in setup.files] == ["/etc/passwd", "/etc/fake"]
    assert setup.commands == (("start-fake",),)
    lrms.hosts["vwn-100"] = FakeHost()
    assert joining.step("x", HOST) is HostState.CLOSED
    assert joining.step("x", HOST) is HostState.READY
    assert len(hypervisor.setups["x"]) == 1


@pytest.mark.parametrize("state", [HostState.JOINING, HostState.BUSY, HostState.DOWN])
def test_a_host_that_is_not_ready_for_it_is_not_opened(hypervisor: FakeHypervisor, state: HostState) -> None:
    lrms = FakeLrms(hosts={"vwn-100": FakeHost(state)})
    assert Joining(lrms, hypervisor, Failpoints()).step("x", HOST) is state
    assert "open_host" not in lrms.calls


def test_a_host_that_is_open_already_is_protected_all_the_same(hypervisor: FakeHypervisor) -> None:
    lrms = FakeLrms(hosts={"vwn-100": FakeHost(HostState.READY)})
    assert Joining(lrms, hypervisor, Failpoints()).step("x", HOST) is HostState.READY
    assert lrms.calls == ["host", "open_host"]


def test_a_guest_that_refused_is_told_again(hypervisor: FakeHypervisor) -> None:
    joining = Joining(Slow(), hypervisor, Failpoints())
    hypervisor.setup_failure = VirtError(object="guest", reason="no answer")
    with pytest.raises(VirtError):
        joining.step("x", HOST)
    hypervisor.setup_failure = None
    joining.step("x", HOST)
    assert len(hypervisor.setups["x"]) == 1


def test_a_host_that_left_may_join_again_and_one_that_could_not_leave_may_leave_again(
    hypervisor: FakeHypervisor,
) -> None:
    lrms = Slow()
    joining = Joining(lrms, hypervisor, Failpoints())
    joining.step("x", HOST)
    lrms.fail_next("remove_host")
    with pytest.raises(LrmsError):
        joining.leave("x", HOST.name)
    joining.leave("x", HOST.name)
    joining.leave("x", HOST.name)
    joining.step("x", HOST)
    assert len(hypervisor.setups["x"]) == 2


@pytest.mark.parametrize("mine", [True, False])
def test_a_waiting_vm_that_registers_while_it_goes_leaves_no_host_and_the_next_of_its_name_stays(
    monkeypatch: pytest.MonkeyPatch, mine: bool
) -> None:
    site = pooled(flavour(1))
    (vm,) = site.waiting()
    take = site.hypervisor.destroy

    def late(vm_id: str) -> Vm:
        site.lrms.hosts[vm.host] = FakeHost(key=vm_id if mine else "next")
        return take(vm_id)

    monkeypatch.setattr(site.hypervisor, "destroy", late)
    site.real_job(8, 0)
    site.run(10)
    assert site.waiting() == []
    assert (vm.host in site.lrms.hosts) is not mine
