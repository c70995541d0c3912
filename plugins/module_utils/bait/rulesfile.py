# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file of site rules, read as a whole: the rules, or all that is wrong with it, each with its line."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from ..model.errors import ConfigError, RequestError, WnodesError
from ..model.image import check_tag
from .request import size_mib
from .rules import AllowRule, ImageRule, Match, Patterns, RangeRule, Rule, Rules, Values, fits_any

VALUES = ("image", "cpus", "memory", "scratch", "mounts")
#: what a value is called in a file, where not as in Values
KEYS = {"image": "image.default", "images": "image.allowed"}
#: what stands for no image where a tag can stand
NONE = "none"
_MATCH = ("users", "groups", "partitions")
_WILD = re.compile(r"[*?\[]")
#: what can stand in a name, or in a shell pattern of one
_NAMES = re.compile(r"[A-Za-z0-9._@$+\\*?\[\]!-]+\Z")
_TAGS = re.compile(r"[a-z0-9._*?\[\]!-]+\Z")
_PATHS = re.compile(r"[/*][^\n]*\Z")


@dataclass(frozen=True)
class Item:
    """A value of a YAML file and its line: ``text`` as it is written (None: null), ``items`` or ``entries``."""

    line: int
    text: Optional[str] = None
    items: Optional[Tuple[Item, ...]] = None
    entries: Optional[Tuple[Tuple[Item, Item], ...]] = None

    def __str__(self) -> str:
        if self.items is not None:
            return f"[{', '.join(map(str, self.items))}]"
        if self.entries is not None:
            return f"{{{', '.join(f'{key}: {value}' for key, value in self.entries)}}}"
        return "null" if self.text is None else repr(self.text)


class BrokenRules(ConfigError):
    """A file of rules that can't be used.

    :param problems: all that is wrong with it; each one's object is ``file:line: key``
    """

    def __init__(self, path: str, problems: Sequence[WnodesError]) -> None:
        self.problems = tuple(problems)
        super().__init__(object=path, reason="can't be used", value=f"{len(self.problems)} errors")

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


def read_rules(path: str, file: Item) -> Rules:
    """Return the rules of a file.

    :raises BrokenRules: with all that is wrong
    """
    return _Reader(path).rules(file)


def check_node(path: str, rules: Rules, targets: Optional[Sequence[str]], offer: bool) -> None:
    """Check what rules say against what a node has.

    :param targets: where VMs have the node's file systems; None where that is not known
    :param offer: whether its VMs are offered to the batch system
    :raises BrokenRules: with all that can't hold there
    """
    problems = [
        ConfigError(
            object=f"{rule.where}: mounts",
            value=repr(pattern),
            reason="is none of the file systems that this node gives to VMs",
            hint=f"those are: {', '.join(targets or ()) or 'none'}",
        )
        for rule in rules.named("mounts")
        for pattern in rule.allowed
        if targets is not None and not any(fits_any(target, (pattern,)) for target in targets)
    ]
    if offer:
        changing = [(f"{rule.where}: image.default", bool(rule.tag)) for rule in rules.named("image")]
        changing += [(f"{rule.where}: mounts", True) for rule in rules.named("mounts")]
        changing += [(f"{rule.where}: scratch", bool(rule.default or rule.min)) for rule in rules.named("scratch")]
        problems += [
            ConfigError(
                object=place,
                reason="can't hold for VMs to which the batch system sends jobs by itself",
                hint="take it out, or pool.offer out of bait.yml",
            )
            for place, changes in changing
            if changes
        ]
    if problems:
        raise BrokenRules(path, problems)


class _Reader:
    """Reads one file and collects what is wrong with it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._problems: List[ConfigError] = []

    def rules(self, file: Item) -> Rules:
        if file.items is None and (file.entries is not None or file.text is not None):
            self._wrong(file, "rules", "must be a list of rules", "each begins with - match: or - <value>:")
        rules = [self._rule(item) for item in file.items or ()]
        self._find_idle(rules)
        if self._problems:
            raise BrokenRules(self._path, sorted(self._problems, key=_line))
        return Rules(tuple(rules))

    def _where(self, item: Item) -> str:
        return f"{self._path}:{item.line}"

    def _wrong(self, item: Item, key: str, reason: str, hint: str = "") -> None:
        self._problems.append(
            ConfigError(object=f"{self._where(item)}: {key}", value=str(item)[:80], reason=reason, hint=hint)
        )

    def _find_idle(self, rules: Sequence[Rule]) -> None:
        for number, rule in enumerate(rules):
            for name, value in rule.values.named().items():
                for later in rules[number + 1 :]:
                    over = later.values.named().get(name)
                    if over is not None and later.match.covers(rule.match):
                        reason = f"never decides: the rule at {over.where} comes later and is for all whom this is for"
                        key = KEYS.get(name, name)
                        problem = ConfigError(object=f"{value.where}: {key}", reason=reason, hint="change their order")
                        self._problems.append(problem)
                        break

    # one rule

    def _rule(self, item: Item) -> Rule:
        entries = self._entries(item, "rule", ("match", *VALUES))
        understood = item.entries is not None and len(entries) == len(item.entries)
        if understood and not set(entries) & set(VALUES):
            self._wrong(item, "rule", "names no value", f"name at least one of {', '.join(VALUES)}")
        match = self._entries(entries["match"], "match", _MATCH) if "match" in entries else {}
        whom = {key: self._patterns(value, f"match.{key}", _NAMES, empty=False) for key, value in match.items()}
        size, count = self._size, self._count
        readers: Dict[str, Callable[[Item], Dict[str, Any]]] = {
            "image": self._image,
            "cpus": lambda value: {"cpus": self._range(value, "cpus", count, fixed=True, unit="")},
            "memory": lambda value: {"memory": self._range(value, "memory", size, fixed=True)},
            "scratch": lambda value: {"scratch": self._range(value, "scratch", size)},
            "mounts": lambda value: {"mounts": self._allowed(value, "mounts", _PATHS)},
        }
        read = [readers[key](entries[key]) for key in VALUES if key in entries]
        return Rule(Match(**whom), Values(**{name: value for values in read for name, value in values.items()}))

    def _entries(self, item: Item, name: str, known: Sequence[str]) -> Dict[str, Item]:
        """Return what a mapping has under its known keys."""
        found: Dict[str, Item] = {}
        if item.entries is None:
            self._wrong(item, name, "must be a mapping", f"known keys: {', '.join(known)}")
        for key, value in item.entries or ():
            if key.text in found:
                self._wrong(key, name, "is there twice")
            elif key.text in known:
                found[str(key.text)] = replace(value, line=key.line)  # where a reader looks for it
            else:
                self._wrong(key, name, "unknown key", f"known keys: {', '.join(known)}")
        return found

    def _patterns(self, item: Item, key: str, letters: re.Pattern[str], empty: bool = True) -> Optional[Patterns]:
        if item.items is None:
            self._wrong(item, key, "must be a list of shell patterns", "for example [atlas*]")
            return None
        if not item.items and not empty:
            self._wrong(item, key, "matches nobody", "leave it out for everybody")
        for pattern in item.items:
            if pattern.text is None or not letters.match(pattern.text):
                self._wrong(pattern, key, "can match nothing: no such name can be")
            elif "[" in re.sub(r"\[!?\]?[^\]]+\]", "", pattern.text):
                self._wrong(pattern, key, "is not a shell pattern: it has a [ without its ]")
        return tuple(str(pattern.text) for pattern in item.items)

    # values

    def _image(self, item: Item) -> Dict[str, Any]:
        entries = self._entries(item, "image", ("default", "allowed"))
        if not entries and item.entries is not None:
            self._wrong(item, "image", "names neither a default nor what is allowed")
        found: Dict[str, Any] = {}
        if "default" in entries:
            default = entries["default"]
            tag = "" if default.text == NONE else self._tag(default, "image.default")
            found["image"] = ImageRule(tag, self._where(default))
        if "allowed" in entries:
            found["images"] = self._allowed(entries["allowed"], "image.allowed", _TAGS)
            for pattern in entries["allowed"].items or ():
                if pattern.text and _TAGS.match(pattern.text) and not _WILD.search(pattern.text):
                    self._tag(pattern, "image.allowed")
        return found

    def _allowed(self, item: Item, key: str, letters: re.Pattern[str]) -> AllowRule:
        return AllowRule(self._patterns(item, key, letters) or (), self._where(item))

    def _tag(self, item: Item, key: str) -> str:
        try:
            return check_tag(item.text or "")
        except RequestError as error:
            self._wrong(item, key, error.reason, error.hint)
            return ""

    def _range(
        self, item: Item, key: str, read: Callable[[Item, str], Optional[int]], fixed: bool = False, unit: str = "MiB"
    ) -> RangeRule:
        entries = self._entries(item, key, ("default", "min", "max"))
        if fixed and "default" in entries:
            self._wrong(
                entries.pop("default"),
                f"{key}.default",
                "has no effect: the batch system gives a job what it asks for",
                "set min and max; the default is the batch system's",
            )
        found = {name: read(value, f"{key}.{name}") for name, value in entries.items()}
        rule = RangeRule(**found, unit=unit, fixed=fixed, where=self._where(item))
        if rule.min is not None and rule.max is not None and rule.min > rule.max:
            self._wrong(entries["min"], f"{key}.min", f"is more than {key}.max ({rule.shown(rule.max)})")
        elif rule.default is not None and not self._inside(rule, rule.default):
            self._wrong(entries["default"], f"{key}.default", f"is outside of {key}.min and {key}.max")
        return rule

    @staticmethod
    def _inside(rule: RangeRule, amount: int) -> bool:
        return (rule.min is None or rule.min <= amount) and (rule.max is None or amount <= rule.max)

    def _size(self, item: Item, key: str) -> Optional[int]:
        try:
            return size_mib(item.text or "", key)
        except RequestError as error:
            self._wrong(item, key, error.reason, error.hint)
            return None

    def _count(self, item: Item, key: str) -> Optional[int]:
        if not re.match(r"[1-9][0-9]{0,5}\Z", item.text or ""):
            self._wrong(item, key, "must be a whole number, 1 or more")
            return None
        return int(item.text or "")


def _line(problem: WnodesError) -> Tuple[int, str]:
    """Return by what problems are put in order."""
    place = problem.object.rpartition(": ")[0]
    return int(place.rpartition(":")[2]), problem.object
