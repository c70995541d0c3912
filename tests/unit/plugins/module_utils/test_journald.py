# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A record says what its fields say, whatever they hold."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from wnodes.journald import MAX_RECORD, Journald, datagram


def read(data: bytes) -> dict[str, bytes]:
    """Read a record as journald does."""
    fields = {}
    while data:
        name, _equals, rest = data.partition(b"\n")[0].partition(b"=")
        if _equals:
            fields[name.decode()], data = rest, data[len(name) + len(rest) + 2 :]
            continue
        start = len(name) + 9
        (size,) = struct.unpack("<Q", data[len(name) + 1 : start])
        fields[name.decode()] = data[start : start + size]
        assert data[start + size : start + size + 1] == b"\n"
        data = data[start + size + 1 :]
    return fields


@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_]{0,9}", fullmatch=True), st.text(max_size=40), max_size=5))
def test_no_value_makes_a_field_of_its_own(fields: dict[str, str]) -> None:
    assert read(datagram(fields)) == {name: value.encode("utf-8", "backslashreplace") for name, value in fields.items()}


def test_what_waits_is_bounded() -> None:
    journal = Journald("/nowhere", limit=1000)
    taken = [journal.put({"MESSAGE": "x" * 391}) for _ in range(4)]
    assert taken == [True, True, False, False]
    assert journal.waiting
    assert not Journald("/nowhere").put({"MESSAGE": "x" * MAX_RECORD})
