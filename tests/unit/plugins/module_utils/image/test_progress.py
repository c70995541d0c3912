# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long transfers tell size, speed and time left, once a second."""

from __future__ import annotations

from wnodes.image.progress import TransferProgress, transfer


def test_a_line_a_second_with_the_speed_of_this_run_only() -> None:
    said: list[str] = []
    times = iter([0.0, 0.5, 1.0, 1.5, 2.5])
    progress = TransferProgress(said.append, "fetch the base", lambda: next(times))
    for mib in (100, 150, 200, 300):
        progress(mib << 20, 400 << 20)
    assert said == [
        "fetch the base",
        "fetch the base: 150 of 400 MiB, 50 MiB/s, 5 s left",
        "fetch the base: 300 of 400 MiB, 80 MiB/s, 1 s left",
    ]


def test_what_is_not_known_is_not_told() -> None:
    assert transfer(3 << 20, None, 1 << 20) == "3 MiB, 1 MiB/s"
    assert transfer(0, 4 << 20, 0.0) == "0 of 4 MiB, 0 MiB/s"
