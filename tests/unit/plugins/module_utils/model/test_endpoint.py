# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from wnodes.model.endpoint import endpoint, reachable
from wnodes.model.errors import ConfigError


def test_an_address_and_a_port() -> None:
    assert endpoint("10.0.0.1:9717", "metrics_listen") == ("10.0.0.1", 9717)


def test_nothing_is_nowhere() -> None:
    assert endpoint("", "metrics_listen") is None


@pytest.mark.parametrize(
    "text", ["9717", ":9717", "10.0.0.1", "10.0.0.1:", "head:9717", "10.0.0.1:80", "10.0.0.1:65536", "10.0.0.1:-9717"]
)
def test_anything_else_is_refused_under_its_key(text: str) -> None:
    with pytest.raises(ConfigError, match="metrics_listen") as caught:
        endpoint(text, "metrics_listen")
    assert caught.value.value == repr(text)


@pytest.mark.parametrize(
    ("listen", "place"), [("0.0.0.0:8444", "hv1:8444"), ("10.0.0.1:8444", "10.0.0.1:8444"), ("", "")]
)
def test_others_reach_it_by_its_address_or_by_the_host_s_name(listen: str, place: str) -> None:
    assert reachable(listen, "hv1") == place
