# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits follow the load, within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wnodes.load import MOST, patient, stretch, stretched_by

FREE = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"


@pytest.mark.parametrize(
    ("loadavg", "pressure", "wanted"),
    [
        ("0.19 0.84 0.55 1/250 4711\n", FREE, 1.0),
        ("2.00 2.00 2.00 2/250 4711\n", FREE, 1.0),
        ("8.00 4.00 2.00 3/250 4711\n", FREE, 4.0),
        ("0.50 0.20 0.10 10/250 4711\n", FREE, 5.0),
        ("90.0 50.0 20.0 91/250 4711\n", FREE, MOST),
        ("0.10 0.10 0.10 1/250 4711\n", FREE.replace("full avg10=0.00", "full avg10=75.00"), 4.0),
        ("0.10 0.10 0.10 1/250 4711\n", FREE.replace("full avg10=0.00", "full avg10=100.00"), MOST),
        ("0.10 0.10 0.10 1/250 4711\n", FREE.replace("some avg10=0.00", "some avg10=99.00"), 1.0),
        ("", "", 1.0),
    ],
)
def test_a_limit_is_stretched_as_far_as_work_takes_longer(loadavg: str, pressure: str, wanted: float) -> None:
    assert stretched_by(loadavg, 2, "", pressure) == wanted


@given(st.text(), st.integers(min_value=0, max_value=999), st.text())
def test_whatever_the_kernel_writes_the_bounds_hold(loadavg: str, cpus: int, pressure: str) -> None:
    assert 1.0 <= stretched_by(loadavg, cpus, pressure) <= MOST


@given(st.floats(min_value=0, max_value=1e6), st.integers(min_value=1, max_value=999))
def test_more_load_never_makes_a_limit_shorter(load: float, cpus: int) -> None:
    below, above = (stretched_by(f"{value:.2f} 0 0 1/9 1", cpus) for value in (load, load + 1))
    assert below <= above


def test_a_program_gets_more_time_on_a_busy_machine() -> None:
    def run(argv: list[str], *, timeout: float, check: bool) -> tuple[list[str], float, bool]:
        return argv, timeout, check

    assert patient(run, lambda: 2.5)(["true"], timeout=4.0, check=False) == (["true"], 10.0, False)


def test_this_machine_tells() -> None:
    assert 1.0 <= stretch() <= MOST
