# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain data to dataclasses, strictly."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Dict, Optional, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wnodes.model.codec import decode, encode, readable
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
        ({"name": "a\udcffb"}, "f.yml: name", "a lone surrogate"),
        ({"name": "x", "words": {"\ud800": "a"}}, "f.yml: words", "a lone surrogate"),
        ({"name": "x", "words": {"a": "\udfff"}}, "f.yml: words.a", "a lone surrogate"),
        ([], "f.yml", "a mapping"),
    ],
)
def test_what_is_wrong_is_said_with_file_key_and_what_is_allowed(data: object, object_: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        decode(Outer, data, "f.yml")
    assert raised.value.object == object_
    assert said in raised.value.reason


#: all that Python takes for text, lone surrogates too
ANYTHING = st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")) | st.text(
    st.sampled_from("é\ud800\udfff")
)
DATA = st.recursive(ANYTHING | st.none() | st.integers(), lambda some: st.lists(some) | st.dictionaries(ANYTHING, some))


@settings(deadline=None)
@given(DATA)
def test_whatever_is_encoded_can_be_written_as_utf_8(data: Any) -> None:
    assert json.loads(json.dumps(encode(data), ensure_ascii=False).encode("utf-8")) == encode(data)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_stays_as_it_is(text: str) -> None:
    assert encode(Inner(text)) == {"size": text}  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.binary())
def test_bytes_of_a_user_s_become_text(data: bytes) -> None:
    assert readable(data.decode("utf-8", "surrogateescape")).encode("utf-8").decode("utf-8") is not None


def test_what_is_no_text_becomes_question_marks_in_keys_and_values() -> None:
    assert encode(Outer("a\udcffb", words={"\ud800é": "\udc80"}))["words"] == {"?é": "?"}
    assert encode(Outer("a\udcffb"))["name"] == "a?b"


def test_an_enum_of_text_is_its_value() -> None:
    class Colour(str, Enum):
        RED = "red"

    assert type(encode(Colour.RED)) is str
