# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest reads back is compared with what it was told, value by value."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.virt.test_policy import LEASE, REQUEST
from wnodes.model.errors import VirtError
from wnodes.model.resources import Resources
from wnodes.model.states import VmState
from wnodes.model.vm import Mount, Vm
from wnodes.virt.fake import FakeDomain, FakeVmHost
from wnodes.virt.guest import GuestAgent, read_assignments
from wnodes.virt.personality import (
    CLOCK_TOLERANCE_S,
    LOOKS,
    differences,
    personalise,
    personality,
    read_back,
    script,
)
from wnodes.virt.surroundings import Resolver, Surroundings

VM = Vm(
    replace(REQUEST, resources=Resources(1, 512, 100), mounts=(Mount("/home", "/home"), Mount("/x", "/sw", True))),
    VmState.PERSONALISING,
    lease=LEASE,
)
GOOD = {
    "seeded": "yes",
    "hostname": "vwn-100",
    "address": "10.77.0.100/24",
    "gateway": "01004D0A",
    "clock": "1000",
}
MOUNTS = "mount=wnodes0 /home rw\nmount=wnodes1 /sw ro\nmount=scratch /scratch rw\n"


def read(wanted_machine_id: str, **changed: str) -> dict[str, list[str]]:
    lines = {**GOOD, "machine_id": wanted_machine_id, **changed}
    return read_back("".join(f"{key}={value}\n" for key, value in lines.items() if value) + MOUNTS)


def test_a_guest_that_is_as_it_should_be() -> None:
    wanted = personality(VM)
    assert differences(wanted, read(wanted.machine_id), 1000.2, 1001.5) == ()
    assert differences(wanted, read(wanted.machine_id, clock="1030"), 1000.2, 1001.5) == ()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hostname": "debian"}, "hostname is debian, should be vwn-100"),
        ({"machine_id": "0" * 32}, "machine_id is 000"),
        ({"address": ""}, "address is not set, should be 10.77.0.100/24"),
        ({"address": "10.77.0.100/8"}, "address is 10.77.0.100/8"),
        ({"gateway": ""}, "gateway is not set"),
        ({"host_keys": "missing"}, "host_keys is missing, should be right"),
        ({"clock": "900"}, "clock is off by -99 s"),
        ({"clock": "1100"}, "clock is off by 98 s"),
        ({"clock": ""}, "did not come to its end"),
        ({"clock": "nan?"}, "did not come to its end"),
    ],
)
def test_each_difference_is_told(changed: dict[str, str], said: str) -> None:
    wanted = personality(VM)
    (difference,) = differences(wanted, read(wanted.machine_id, **changed), 1000.2, 1001.5)
    assert said in difference


def test_missing_mounts_are_told() -> None:
    wanted = personality(VM)
    found = read(wanted.machine_id)
    found["mount"] = ["wnodes0 /home rw", "wnodes1 /sw rw"]
    assert differences(wanted, found, 1000, 1001) == (
        "/sw is not mounted as it should be",
        "/scratch is not mounted as it should be",
    )


def test_a_clone_must_be_reseeded() -> None:
    wanted = personality(VM, clone=True)
    assert differences(wanted, read(wanted.machine_id), 1000, 1001) == ()
    (difference,) = differences(wanted, read(wanted.machine_id, seeded="no"), 1000, 1001)
    assert "reseeded" in difference


def test_identities_are_fresh_each_time() -> None:
    one, two = personality(VM), personality(VM)
    assert one.machine_id != two.machine_id
    assert one.seed != two.seed
    assert len(one.seed) == 128


def test_values_are_data_for_the_shell() -> None:
    wanted = replace(personality(VM), hostname="$(touch /x)'`", mounts=(("t", "/a'b", "rw"),))
    values = read_assignments(script(wanted, 1.5))
    assert (values["hostname"], values["mounts"], values["now"]) == ("$(touch /x)'`", "t /a'b rw", "1.500")


def test_without_a_lease_there_is_nothing_to_become() -> None:
    with pytest.raises(VirtError):
        personality(replace(VM, lease=None))


def test_the_seed_is_never_told() -> None:
    host = FakeVmHost()
    host.domains["u"] = FakeDomain("u", "vwn-100", None, booted=True)
    wanted = personality(VM)
    host.lies = {"hostname": "x"}
    with pytest.raises(VirtError, match="hostname is x") as caught:
        personalise(GuestAgent(host, "u"), wanted, 1000.0, 5.0)
    assert wanted.seed not in str(caught.value)


def ready(host: FakeVmHost, clone: bool = True) -> float:
    """Personalise a guest whose node's clock says 1000; return by how much its clock is off then."""
    host.domains["u"] = FakeDomain("u", "vwn-100", None, booted=True)
    begun = time.monotonic()
    personalise(GuestAgent(host, "u"), personality(VM, clone=clone), 1000.0, 5.0)
    return GuestAgent(host, "u").clock() - 1000.0 - (time.monotonic() - begun)


@given(st.lists(st.floats(min_value=0, max_value=3600), max_size=1))
def test_however_late_a_script_comes_the_clock_is_right(late: list[float]) -> None:
    host = FakeVmHost()
    host.late = late
    assert abs(ready(host)) < CLOCK_TOLERANCE_S + 0.1


def test_without_a_clock_of_its_machine_a_late_guest_is_moved_by_what_it_is_off() -> None:
    host = FakeVmHost()
    host.rtc, host.late = None, [300.0]
    assert abs(ready(host)) < CLOCK_TOLERANCE_S + 0.1


def test_a_clock_that_is_right_by_the_machines_own_is_not_set_again() -> None:
    host = FakeVmHost()
    host.late = [7.4]
    ready(host)
    assert len(host.domains["u"].scripts) == 1


@pytest.mark.parametrize("rtc", [None, -7200.0, 7200.0])
def test_a_machine_whose_own_clock_is_wrong_or_missing_does_without(rtc: float | None) -> None:
    host = FakeVmHost()
    host.rtc = rtc
    assert abs(ready(host)) < CLOCK_TOLERANCE_S + 0.1


def test_a_clock_that_stays_a_bit_off_is_no_reason_to_throw_a_vm_away(caplog: pytest.LogCaptureFixture) -> None:
    host = FakeVmHost()
    host.rtc, host.late, host.moves_clocks = None, [20.0], False
    assert ready(host) == pytest.approx(-20.0, abs=0.1)
    assert "its clock is off by -20.0 s" in caplog.text


def test_a_clock_that_the_batch_system_would_not_believe_is_told() -> None:
    host = FakeVmHost()
    host.rtc, host.late, host.moves_clocks = None, [40.0], False
    with pytest.raises(VirtError, match="clock is off by -40 s"):
        ready(host)


def test_a_script_looks_longer_on_a_busy_node() -> None:
    host = FakeVmHost()
    host.domains["u"] = FakeDomain("u", "vwn-100", None, booted=True)
    personalise(GuestAgent(host, "u"), personality(VM), 1000.0, 5.0, lambda: 4.0)
    assert read_assignments(host.domains["u"].scripts[0])["looks"] == str(4 * LOOKS)


def test_a_guest_gets_what_its_node_has() -> None:
    node = Surroundings(
        resolver=Resolver(("192.0.2.1",), ("example.org", "lab"), ("ndots:2",)),
        hosts=("192.0.2.9 licences", f"{LEASE.address} somebody-else"),
        zone="Europe/Berlin",
        zone_data="TZif2\0\xff%",
        locale=("LANG=de_DE.UTF-8",),
    )
    lease = replace(LEASE, network=replace(LEASE.network, domain="site"))
    values = read_assignments(script(personality(replace(VM, lease=lease), node=node), 1.0))
    assert values["search"] == "site example.org lab"
    assert values["hosts"] == "192.0.2.9 licences"
    assert (values["zone"], values["zone_data"]) == ("Europe/Berlin", "TZif2\\000\\377\\045")
    assert (values["locale"], values["options"]) == ("LANG=de_DE.UTF-8", "ndots:2")


def test_the_sites_own_servers_come_first() -> None:
    node = Surroundings(resolver=Resolver(("192.0.2.1",)))
    own = replace(LEASE, network=replace(LEASE.network, dns=("192.0.2.2",)))
    assert personality(replace(VM, lease=own), node=node).dns == ("192.0.2.2",)
    assert personality(VM, node=node).dns == ("192.0.2.1",)
