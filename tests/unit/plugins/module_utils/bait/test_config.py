# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from wnodes.bait.config import BaitConfig
from wnodes.model.codec import decode
from wnodes.model.errors import ConfigError

GOOD = {"host": "hv1", "slurm": {"node": "hv1"}, "nameserver": {"url": "https://head"}}


def test_three_keys_are_enough() -> None:
    assert decode(BaitConfig, GOOD, "/etc/wnodes/bait.yml").metrics_listen == ""


@pytest.mark.parametrize(("key", "value"), [("poll_s", 0.0), ("backoff_s", -1.0), ("metrics_listen", "9718")])
def test_each_wrong_key_is_named(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        decode(BaitConfig, {**GOOD, key: value}, "/etc/wnodes/bait.yml")
