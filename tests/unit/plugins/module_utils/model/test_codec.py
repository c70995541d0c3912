# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain data to dataclasses, strictly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Optional, Tuple

import pytest

from wnodes.model.codec import decode, encode
from wnodes.model.errors import ConfigError
from wnodes.model.states import VmState


@dataclass(frozen=True)
class Inner:
    size: int


@dataclass(frozen=True)
class Outer:
    name: str
    state: VmState = VmState.READY
    inner: Optional[Inner] = None
    many: Tuple[Inner, ...] = ()
    words: Dict[str, str] = field(default_factory=dict)
    seconds: float = 1.5
    good: bool = True


def test_encode_and_decode_are_inverse() -> None:
    value = Outer("x", VmState.GONE, Inner(1), (Inner(2), Inner(3)), {"a": "b"}, 2.0, False)
    assert decode(Outer, encode(value)) == value


@pytest.mark.parametrize(
    ("data", "object_", "said"),
    [
        ({"name": "x", "colour": 1}, "f.yml: colour", "unknown key"),
        ({}, "f.yml: name", "missing"),
        ({"name": 3}, "f.yml: name", "a text"),
        ({"name": "x", "state": "ASLEEP"}, "f.yml: state", "one of PLANNED"),
        ({"name": "x", "inner": {"size": "big"}}, "f.yml: inner.size", "a whole number"),
        ({"name": "x", "inner": {"size": True}}, "f.yml: inner.size", "a whole number"),
        ({"name": "x", "many": 3}, "f.yml: many", "a list"),
        ([], "f.yml", "a mapping"),
    ],
)
def test_what_is_wrong_is_said_with_file_key_and_what_is_allowed(data: object, object_: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        decode(Outer, data, "f.yml")
    assert raised.value.object == object_
    assert said in raised.value.reason
