# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Site rules: which image, sizes and file systems jobs get, by user, Unix group and partition.

Of each value the last rule that matches and names it decides, alone: a rule's ``memory`` replaces an earlier one's as a
whole. So general rules come first and exceptions after them, and a value that is sound in the file is sound for
everybody.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from typing import Any, Dict, Iterable, Optional, Tuple

from ..model.errors import RequestError

Patterns = Tuple[str, ...]


def fits_any(text: str, patterns: Patterns) -> bool:
    """Return whether one of the shell patterns matches all of ``text``."""
    return any(fnmatchcase(text, pattern) for pattern in patterns)


@dataclass(frozen=True)
class Submitter:
    """Whose job it is, and the partition it was sent to."""

    user: str
    groups: Tuple[str, ...]
    partition: str

    def __str__(self) -> str:
        return f"{self.user} in partition {self.partition}"


@dataclass(frozen=True)
class Match:
    """Whom a rule is for, as shell patterns; None: everybody. All that is named must match."""

    users: Optional[Patterns] = None
    groups: Optional[Patterns] = None
    partitions: Optional[Patterns] = None

    def fits(self, who: Submitter) -> bool:
        """Return whether the rule is for ``who``."""
        pairs = ((self.users, (who.user,)), (self.groups, who.groups), (self.partitions, (who.partition,)))
        return all(wanted is None or any(fits_any(name, wanted) for name in names) for wanted, names in pairs)

    def covers(self, other: Match) -> bool:
        """Return whether this one surely fits everybody whom ``other`` fits, judged by the words alone."""
        pairs = ((self.users, other.users), (self.groups, other.groups), (self.partitions, other.partitions))
        return all(mine is None or (its is not None and set(its) <= set(mine)) for mine, its in pairs)


@dataclass(frozen=True)
class ImageRule:
    """Which image a job gets that names none.

    :param tag: empty: it stays a real job
    :param where: ``file:line``
    """

    tag: str
    where: str = field(default="", compare=False)


@dataclass(frozen=True)
class AllowRule:
    """Which of several things jobs may have, as shell patterns of their names."""

    allowed: Patterns
    where: str = field(default="", compare=False)


@dataclass(frozen=True)
class RangeRule:
    """How much of something a job may have; None: that much is not limited.

    :param unit: what the numbers are, ``MiB`` or nothing
    :param fixed: whether the batch system gives it, so that a job that asks for too little can't be helped
    """

    default: Optional[int] = None
    min: Optional[int] = None
    max: Optional[int] = None
    unit: str = "MiB"
    fixed: bool = False
    where: str = field(default="", compare=False)

    def shown(self, amount: int) -> str:
        """Return an amount for people."""
        return f"{amount} {self.unit}".strip()

    def granted(self, what: str, asked: int) -> int:
        """Return how much a job gets that asks for ``asked``; RequestError where that is beyond the limits."""
        if self.max is not None and asked > self.max:
            raise self._refusal(what, asked, "more", self.max, "most")
        if self.min is not None and asked < self.min:
            if self.fixed:
                raise self._refusal(what, asked, "less", self.min, "least")
            return self.min
        return asked

    def otherwise(self, usual: int) -> int:
        """Return how much a job gets that asks for none, where it would be ``usual`` without this rule."""
        if self.default is not None:
            return self.default
        return usual if self.max is None else min(usual, self.max)

    def _refusal(self, what: str, asked: int, how: str, limit: int, bound: str) -> RequestError:
        return RequestError(
            object=what,
            value=self.shown(asked),
            reason=f"is {how} than the rule allows ({self.shown(limit)}, {self.where})",
            hint=f"ask for at {bound} {self.shown(limit)}",
        )


@dataclass(frozen=True)
class Values:
    """What a rule names, or what rules decide for somebody; None: nothing is said of it.

    :param image: the one that a job gets which names none
    :param images: tags that a job may name
    :param mounts: file systems of the node by where VMs have them
    """

    image: Optional[ImageRule] = None
    images: Optional[AllowRule] = None
    cpus: Optional[RangeRule] = None
    memory: Optional[RangeRule] = None
    scratch: Optional[RangeRule] = None
    mounts: Optional[AllowRule] = None

    def named(self) -> Dict[str, Any]:
        """Return what something is said of, by name."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def granted_image(self, tag: str, who: Submitter) -> str:
        """Return ``tag``; RequestError where ``who`` may not have it. What one gets without asking, one may ask for."""
        rule = self.images
        if rule is None or (self.image and self.image.tag == tag) or fits_any(tag, rule.allowed):
            return tag
        hint = f"allowed: {', '.join(rule.allowed)}" if rule.allowed else "ask for no image"
        raise RequestError(object="image", value=tag, reason=f"is not for {who} ({rule.where})", hint=hint)


@dataclass(frozen=True)
class Rule:
    """Values for those whom it is for."""

    match: Match
    values: Values


@dataclass(frozen=True)
class Rules:
    """All rules of a site, in order."""

    rules: Tuple[Rule, ...] = ()

    def decide(self, who: Submitter) -> Values:
        """Return what holds for ``who``, each value as the rule that decides it has it."""
        decided = Values()
        for rule in self.rules:
            if rule.match.fits(who):
                decided = replace(decided, **rule.values.named())
        return decided

    def named(self, name: str) -> Iterable[Any]:
        """Yield the value ``name`` of each rule that names it."""
        for rule in self.rules:
            if name in rule.values.named():
                yield rule.values.named()[name]
