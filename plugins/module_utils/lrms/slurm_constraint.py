# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job's ``--constraint``: which images it may have on a node with given features. No I/O.

Slurm reads such an expression from left to right, without precedence between ``&`` and ``|``; brackets and parentheses
group. A count (``*2``) is of nodes: a job in a VM has one.
"""

from __future__ import annotations

import re
from typing import Callable, FrozenSet, Iterable, List, Tuple

from ..model.errors import RequestError

TAG_PREFIX = "vm_"
_TOKEN = re.compile(r"\s*([A-Za-z0-9_.+-]+|\*[0-9]+|[&|,()\[\]])")
_TAG = re.compile(r"(?<![A-Za-z0-9_.-])vm_([A-Za-z0-9_.-]+)")
_CLOSING = {"(": ")", "[": "]"}
_HINT = "for example vm_<tag>, vm_<tag>&ssd or vm_<one>|vm_<other>"

_Test = Callable[[FrozenSet[str]], bool]


def tags(constraint: str) -> Tuple[str, ...]:
    """Return the image tags that are named, each once, in the order of the text."""
    return tuple(dict.fromkeys(_TAG.findall(constraint)))


def images(constraint: str, features: Iterable[str]) -> Tuple[str, ...]:
    """Return the image tags with which a VM on a node of these features is what the job asks for, best first.

    :param features: the node's, without those of images
    :raises RequestError: it can't be read, or no image makes it true
    """
    named = tags(constraint)
    test, has = _parse(constraint), frozenset(features)
    fitting = tuple(tag for tag in named if test(has | {TAG_PREFIX + tag}))
    if not fitting:
        raise RequestError(
            object="job's --constraint",
            value=constraint[:200],
            reason="fits no VM of one image on this node",
            hint=_HINT,
        )
    return fitting


def _parse(constraint: str) -> _Test:
    tokens: List[str] = []
    at = 0
    text = constraint.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            raise _unreadable(constraint)
        tokens.append(match.group(1))
        at = match.end()
    test, rest = _expression(tokens, constraint)
    if rest:
        raise _unreadable(constraint)
    return test


def _unreadable(constraint: str) -> RequestError:
    return RequestError(object="job's --constraint", value=constraint[:200], reason="can't be read", hint=_HINT)


def _expression(tokens: List[str], whole: str) -> Tuple[_Test, List[str]]:
    test, tokens = _item(tokens, whole)
    while tokens and tokens[0] in ("&", ",", "|"):
        operator, left = tokens[0], test
        right, tokens = _item(tokens[1:], whole)
        test = _either(left, right) if operator == "|" else _both(left, right)
    return test, tokens


def _either(left: _Test, right: _Test) -> _Test:
    return lambda has: left(has) or right(has)


def _both(left: _Test, right: _Test) -> _Test:
    return lambda has: left(has) and right(has)


def _item(tokens: List[str], whole: str) -> Tuple[_Test, List[str]]:
    if not tokens:
        raise _unreadable(whole)
    first, tokens = tokens[0], tokens[1:]
    test: _Test
    if first in _CLOSING:
        test, tokens = _expression(tokens, whole)
        if not tokens or tokens[0] != _CLOSING[first]:
            raise _unreadable(whole)
        tokens = tokens[1:]
    elif first[0] in "&|,)]*":
        raise _unreadable(whole)
    else:
        test = _has(first)
    if tokens and tokens[0].startswith("*"):
        if tokens[0] != "*1":
            raise RequestError(
                object="job's --constraint", value=whole[:200], reason="counts nodes, and a job in a VM has one"
            )
        tokens = tokens[1:]
    return test, tokens


def _has(feature: str) -> _Test:
    return lambda has: feature in has
