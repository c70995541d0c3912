# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wnodes.model.errors import ConfigError
from wnodes.model.resources import Overheads, Resources

SIZES = st.integers(min_value=0, max_value=1_000_000)


PERCENT = st.floats(min_value=0, max_value=100)
#: RAM, CPUs and MemTotal (MiB) of guests as they were measured: Debian's cloud kernels 6.1 and 6.12, q35
MEASURED = (
    (512, 1, 463),
    (704, 1, 650),
    (2240, 1, 2158),
    (3264, 2, 3101),
    (8384, 2, 8128),
    (16192, 4, 15814),
    (16896, 4, 16478),
    (16896, 32, 16470),
)


@given(request=SIZES, guest=SIZES, qemu=SIZES)
def test_guest_is_request_and_its_overhead_charge_is_guest_and_qemus(request: int, guest: int, qemu: int) -> None:
    overheads, asked = Overheads(guest, qemu, 0, 0), Resources(2, request, 7)
    assert overheads.guest(asked) == Resources(2, request + guest, 7)
    assert overheads.charge(asked) == Resources(2, request + guest + qemu, 7)


def test_overheads_grow_with_the_size() -> None:
    overheads = Overheads(192, 256, 2.0, 0.5)
    assert overheads.guest(Resources(1, 10_000)).memory_mib == 10_000 + 192 + 200
    assert overheads.charge(Resources(1, 10_000)).memory_mib == 10_392 + 256 + 52
    assert overheads.guest(Resources(1, 1)).memory_mib == 1 + 192 + 1


@given(total=SIZES, guest=SIZES, qemu=SIZES, guest_percent=PERCENT, qemu_percent=PERCENT)
def test_the_largest_job_fits_and_one_mib_more_does_not(
    total: int, guest: int, qemu: int, guest_percent: float, qemu_percent: float
) -> None:
    overheads = Overheads(guest, qemu, guest_percent, qemu_percent)
    largest = overheads.largest(total)
    assert overheads.charge(Resources(1, largest)).memory_mib <= total or largest == 0
    assert overheads.charge(Resources(1, largest + 1)).memory_mib > total


@given(request=SIZES, guest=SIZES, guest_percent=PERCENT)
def test_a_guests_size_tells_its_jobs(request: int, guest: int, guest_percent: float) -> None:
    overheads = Overheads(guest, 0, guest_percent)
    assert overheads.within(overheads.guest(Resources(1, request)).memory_mib) == request


@pytest.mark.parametrize(("ram", "cpus", "total"), MEASURED)
def test_a_guest_shows_at_least_its_jobs_memory_and_has_some_for_its_services(ram: int, cpus: int, total: int) -> None:
    overheads = Overheads()
    assert total - overheads.within(ram) >= 85, cpus


@pytest.mark.parametrize("wrong", [{"guest_mib": -1}, {"qemu_mib": -1}, {"guest_percent": -0.1}, {"qemu_percent": 101}])
def test_an_overhead_out_of_its_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Overheads(**wrong)  # type: ignore[arg-type]
