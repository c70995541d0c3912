# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads PromQL as far as our rules and dashboards use it: what is no expression is a ValueError.

It knows operators and their precedence, aggregations, selectors, ranges, and which functions take a range.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

SCALAR, STRING, INSTANT, RANGE = "scalar", "string", "instant vector", "range vector"
AGGREGATIONS = {"sum", "count", "max", "min", "avg"}
FUNCTIONS = {
    "absent": ([INSTANT], INSTANT),
    "histogram_quantile": ([SCALAR, INSTANT], INSTANT),
    "increase": ([RANGE], INSTANT),
    "rate": ([RANGE], INSTANT),
    "time": ([], SCALAR),
    "vector": ([SCALAR], INSTANT),
}
#: weakest first
PRECEDENCE = [{"or"}, {"and", "unless"}, {"==", "!=", ">", "<", ">=", "<="}, {"+", "-"}, {"*", "/", "%"}]
TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<duration>\d+[smhdwy]\b)|(?P<number>\d+(?:\.\d+)?)
    |(?P<word>[a-zA-Z_][a-zA-Z0-9_]*)|(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%=<>(){}\[\],]))""",
    re.VERBOSE,
)


@dataclass
class Selector:
    """A metric with its matchers: label → (operator, value)."""

    metric: str
    matchers: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass
class Found:
    """What an expression speaks of: its selectors, and each grouping's labels with the selectors it groups."""

    selectors: list[Selector] = field(default_factory=list)
    groupings: list[tuple[list[str], list[Selector]]] = field(default_factory=list)


def parse(text: str) -> Found:
    """Return what ``text`` speaks of; raise ValueError where it is no expression."""
    reader = _Reader(text)
    kind = reader.expression(0)
    if reader.tokens:
        raise ValueError(f"{text}: what comes from {reader.tokens[0][1]!r} on does not belong there")
    if kind not in (SCALAR, INSTANT):
        raise ValueError(f"{text}: is a {kind}")
    return reader.found


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.found = text, Found()
        self.tokens: list[tuple[str, str]] = []
        place, text = 0, text.rstrip()
        while place < len(text):
            match = TOKEN.match(text, place)
            if match is None:
                raise ValueError(f"{text}: can't be read at {text[place:]!r}")
            self.tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            place = match.end()

    def next(self, kind: str = "", value: str = "") -> str:
        """Take the next token, which must be of that kind or have that value."""
        found = self.tokens.pop(0) if self.tokens else ("end", "its end")
        if (kind and found[0] != kind) or (value and found[1] != value):
            raise ValueError(f"{self.text}: {found[1]!r} stands where {value or kind} should")
        return found[1]

    def at(self, *values: str) -> bool:
        return bool(self.tokens) and self.tokens[0][1] in values and self.tokens[0][0] != "string"

    def expression(self, level: int) -> str:
        if level == len(PRECEDENCE):
            return self.unary()
        left = self.expression(level + 1)
        while self.at(*PRECEDENCE[level]):
            operator = self.next()
            if self.at("on", "ignoring"):
                self.next()
                self.labels()
            right = self.expression(level + 1)
            if {left, right} - {SCALAR, INSTANT} or (level < 2 and {left, right} != {INSTANT}):
                raise ValueError(f"{self.text}: {left} {operator} {right}")
            left = INSTANT if INSTANT in (left, right) else SCALAR
        return left

    def unary(self) -> str:
        if self.at("-"):
            self.next()
        if self.at("("):
            self.next()
            kind = self.expression(0)
            self.next(value=")")
            return kind
        if self.tokens and self.tokens[0][0] in ("number", "string"):
            return SCALAR if self.tokens.pop(0)[0] == "number" else STRING
        word = self.next("word")
        if word in AGGREGATIONS:
            return self.aggregation()
        return self.call(word) if self.at("(") else self.selector(word)

    def labels(self) -> list[str]:
        self.next(value="(")
        found = []
        while not self.at(")"):
            found.append(self.next("word"))
            if not self.at(")"):
                self.next(value=",")
        self.next(value=")")
        return found

    def aggregation(self) -> str:
        before = len(self.found.selectors)
        labels: list[str] = []
        if self.at("by"):
            self.next()
            labels = self.labels()
        self.next(value="(")
        kind = self.expression(0)
        self.next(value=")")
        if kind != INSTANT:
            raise ValueError(f"{self.text}: aggregates a {kind}")
        self.found.groupings.append((labels, self.found.selectors[before:]))
        return INSTANT

    def call(self, name: str) -> str:
        if name not in FUNCTIONS:
            raise ValueError(f"{self.text}: {name} is no function known here")
        wanted, result = FUNCTIONS[name]
        self.next(value="(")
        given = []
        while not self.at(")"):
            given.append(self.expression(0))
            if not self.at(")"):
                self.next(value=",")
        self.next(value=")")
        if given != wanted:
            raise ValueError(f"{self.text}: {name} takes {wanted}, not {given}")
        return result

    def selector(self, metric: str) -> str:
        selector = Selector(metric)
        self.found.selectors.append(selector)
        if self.at("{"):
            self.next()
            while not self.at("}"):
                label = self.next("word")
                operator = self.next("sign")
                if operator not in ("=", "!=", "=~", "!~"):
                    raise ValueError(f"{self.text}: {operator} compares no label")
                selector.matchers[label] = (operator, self.next("string")[1:-1])
                if not self.at("}"):
                    self.next(value=",")
            self.next(value="}")
        if self.at("["):
            self.next()
            self.next("duration")
            self.next(value="]")
            return RANGE
        return INSTANT
