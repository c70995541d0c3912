# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from wnodes.model.errors import RequestError
from wnodes_services.cli import common


@pytest.mark.parametrize(
    ("text", "value"), [("90", 90.0), ("30s", 30.0), ("2h", 7200.0), ("1h30m", 5400.0), ("1d", 86400.0)]
)
def test_times_are_as_people_write_them(text: str, value: float) -> None:
    assert common.seconds(text, "--deadline") == value


@pytest.mark.parametrize("text", ["", "2 h", "1.5h", "h", "-1h", "soon"])
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(RequestError, match="for example 30m"):
        common.seconds(text, "--deadline")
