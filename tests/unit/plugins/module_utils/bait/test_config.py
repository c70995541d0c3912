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


@pytest.mark.parametrize(
    ("key", "value"), [("poll_s", 0.0), ("backoff_s", -1.0), ("metrics_listen", "9718"), ("manage_listen", "8445")]
)
def test_each_wrong_key_is_named(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        decode(BaitConfig, {**GOOD, key: value}, "/etc/wnodes/bait.yml")


KIND = {"tag": "worker_debian12_x86_64", "cpus": 1, "memory_mib": 512}


def test_no_vm_waits_unless_it_is_asked_for() -> None:
    pool = decode(BaitConfig, GOOD, "/etc/wnodes/bait.yml").pool
    assert (pool.flavours, pool.learn, pool.reuse_s) == ((), 0, 0.0)


def test_a_kind_of_vm_that_shall_wait_is_one_of_it_unless_told_otherwise() -> None:
    pool = decode(BaitConfig, {**GOOD, "pool": {"flavours": [KIND]}}, "/etc/wnodes/bait.yml").pool
    assert (pool.flavours[0].waiting, pool.flavours[0].scratch_mib) == (1, 0)


@pytest.mark.parametrize(
    ("pool", "named"),
    [
        ({"learn": -1}, "pool.learn"),
        ({"learn_s": -1.0}, "pool.learn_s"),
        ({"calm_s": -1.0}, "pool.calm_s"),
        ({"reuse_s": -1.0}, "pool.reuse_s"),
        ({"reuse_jobs": 1}, "pool.reuse_jobs"),
        ({"flavours": [KIND, KIND]}, "twice"),
        ({"flavours": [{**KIND, "tag": "worker"}]}, "tag"),
        ({"flavours": [{**KIND, "waiting": 0}]}, "waiting"),
        ({"flavours": [{**KIND, "cpus": 0}]}, "cpus"),
        ({"flavours": [{**KIND, "memory_mib": 0}]}, "memory_mib"),
        ({"flavours": [{**KIND, "scratch_mib": -1}]}, "scratch_mib"),
    ],
)
def test_each_wrong_key_of_the_pool_is_named(pool: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        decode(BaitConfig, {**GOOD, "pool": pool}, "/etc/wnodes/bait.yml")
