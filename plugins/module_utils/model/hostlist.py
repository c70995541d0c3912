# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of hosts as batch systems write them: ``hv1,node[01-04,7]``."""

from __future__ import annotations

import fnmatch
import re
from typing import Iterable, List, Sequence, Tuple

from .errors import NotFoundError, RequestError

#: a range that names more hosts is a slip of the pen
MAX_HOSTS = 65536

_ITEM = re.compile(r"[^,\[\]]*(?:\[[^\[\]]*\][^,\[\]]*)*")
_SPAN = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?\Z")


def expand(text: str) -> Tuple[str, ...]:
    """Return the names in ``text``, in its order; what is in brackets without being numbers is left as it is.

    :raises RequestError: brackets that do not match, or a range that is upside down or too long
    """
    names: List[str] = []
    at = 0
    while at < len(text):
        match = _ITEM.match(text, at)
        assert match is not None
        if match.end() < len(text) and text[match.end()] != ",":
            raise RequestError(object="list of hosts", value=text[:80], reason="has a bracket without its partner")
        names += _names(match.group(0), text)
        at = match.end() + 1
    return tuple(filter(None, names))


def _names(item: str, text: str) -> List[str]:
    found = [""]
    for part in re.split(r"(\[[^\]]*\])", item):
        ends = _numbers(part[1:-1], text) if part.startswith("[") else [part]
        found = [start + end for start in found for end in ends]
        if len(found) > MAX_HOSTS:
            raise RequestError(object="list of hosts", value=text[:80], reason=f"names more than {MAX_HOSTS} hosts")
    return found


def _numbers(inside: str, text: str) -> List[str]:
    spans = [_SPAN.match(span) for span in inside.split(",")]
    if not all(spans):
        return [f"[{inside}]"]
    numbers: List[str] = []
    for span in filter(None, spans):
        first, last = span.group(1), span.group(2) or span.group(1)
        if not 0 <= int(last) - int(first) < MAX_HOSTS:
            raise RequestError(
                object="list of hosts", value=text[:80], reason=f"{span.group(0)} is no range of at most {MAX_HOSTS}"
            )
        numbers += [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return numbers


def chosen(wanted: Sequence[str], known: Iterable[str]) -> Tuple[str, ...]:
    """Return which of the ``known`` hosts are meant by lists of names and shell patterns; all where none is given.

    :raises NotFoundError: one of them means no host
    :raises RequestError: a list can't be read
    """
    there = sorted(set(known))
    items = [item for text in wanted for item in expand(text)]
    for item in items:
        if not fnmatch.filter(there, item):
            raise NotFoundError(
                object=f"host {item}", reason="there is no such host here",
                hint="known hosts: " + (", ".join(there) or "none yet"),
            )  # fmt: skip
    return tuple(host for host in there if not items or any(fnmatch.fnmatchcase(host, item) for item in items))
