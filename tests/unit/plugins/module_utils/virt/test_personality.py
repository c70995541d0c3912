# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest reads back is compared with what it was told, value by value."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.plugins.module_utils.virt.test_policy import LEASE, REQUEST
from wnodes.model.errors import VirtError
from wnodes.model.resources import Resources
from wnodes.model.states import VmState
from wnodes.model.vm import Mount, Vm
from wnodes.virt.fake import FakeDomain, FakeHost
from wnodes.virt.guest import Guest, read_assignments
from wnodes.virt.personality import differences, personalise, personality, read_back, script

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


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hostname": "debian"}, "hostname is debian, should be vwn-100"),
        ({"machine_id": "0" * 32}, "machine_id is 000"),
        ({"address": ""}, "address is not set, should be 10.77.0.100/24"),
        ({"address": "10.77.0.100/8"}, "address is 10.77.0.100/8"),
        ({"gateway": ""}, "gateway is not set"),
        ({"host_keys": "missing"}, "host_keys is missing, should be right"),
        ({"clock": "900"}, "clock is off by -102 s"),
        ({"clock": "1010"}, "clock is off by 8 s"),
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
    host = FakeHost()
    host.domains["u"] = FakeDomain("u", "vwn-100", None, booted=True)
    wanted = personality(VM)
    host.lies = {"hostname": "x"}
    with pytest.raises(VirtError, match="hostname is x") as caught:
        personalise(Guest(host, "u"), wanted, 1000.0, 5.0)
    assert wanted.seed not in str(caught.value)


def ready(host: FakeHost) -> None:
    host.domains["u"] = FakeDomain("u", "vwn-100", None, booted=True)
    personalise(Guest(host, "u"), personality(VM, clone=True), 1000.0, 5.0)


def test_a_clock_that_was_set_late_is_set_again() -> None:
    host = FakeHost()
    host.late = [1.5, 0.0]
    ready(host)
    assert [script.partition("@")[0] for script in host.domains["u"].scripts[1:]] == ["date -u -s "]
    assert abs(Guest(host, "u").clock() - 1000.0) < 5.0


def test_a_clock_that_is_always_set_as_late_is_right_in_the_end() -> None:
    host = FakeHost()
    host.late = [1.8] * 9
    ready(host)
    assert abs(Guest(host, "u").clock() - 1000.0) < 5.0


def test_a_clock_that_can_not_be_set_right_is_told() -> None:
    host = FakeHost()
    host.late = [1.8, -1.8] * 4
    with pytest.raises(VirtError, match="clock is off by"):
        ready(host)
    assert host.late == [1.8, -1.8] * 2
