# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``wnodes rules``: whether a file of site rules is good, and what it says for somebody."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from wnodes.bait.request import groups, size_mib
from wnodes.bait.rules import AllowRule, ImageRule, RangeRule, Rules, Submitter, Values
from wnodes.bait.rulesfile import KEYS, BrokenRules, check_node
from wnodes.model.codec import encode
from wnodes.model.errors import NotFoundError, RequestError
from wnodes.model.image import check_tag

from ..rules import load_rules
from . import show
from .common import Json, print_json

app = typer.Typer(help="Site rules: what jobs get by user, Unix group and partition.", no_args_is_help=True)

#: where the role bait puts them
RULES = "/etc/wnodes/rules.yml"
NO_RULES = (
    f"{RULES}: there are no rules here. Without rules a job gets what it asks for and bait.yml allows."
    " If nodes have that file, ask there, or name the file."
)
REFUSED = 1
#: what a job can ask for
WISHES = ("image", "cpus", "memory", "scratch")


@app.command()
def check(
    file: Annotated[str | None, typer.Argument(help=f"The file of rules; by default {RULES}.")] = None,
    name: Annotated[str, typer.Option(help="What errors call it, if not by its path.")] = "",
    mounts: Annotated[
        str | None,
        typer.Option(help="A node's file systems, comma between them: check that it has those of the rules."),
    ] = None,
    offer: Annotated[bool, typer.Option("--offer", help="Check that they can hold where VMs are offered.")] = False,
    as_json: Json = False,
) -> None:
    """Tell all that is wrong with a file of rules, each with its line; exit code 1 if anything is."""
    try:
        rules = _rules(file, name)
        check_node(file or RULES, rules, None if mounts is None else list(filter(None, mounts.split(","))), offer)
    except BrokenRules as error:
        if not as_json:
            raise
        print_json({"ok": False, "problems": [problem.as_dict() for problem in error.problems]})
        raise typer.Exit(REFUSED) from None
    if as_json:
        print_json({"ok": True, "problems": [], "rules": len(rules.rules)})
    elif _is_there(file):
        print(f"{name or file or RULES}: {len(rules.rules)} rules, all good")
    else:
        print(NO_RULES)


@app.command()
def explain(
    user: Annotated[str, typer.Option(help="Whose job.")],
    partition: Annotated[str, typer.Option(help="Where it is sent to.")],
    group: Annotated[
        list[str] | None, typer.Option(help="The user's Unix groups, where not those that this machine knows.")
    ] = None,
    wish: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="image=, cpus=, memory= or scratch=, as a job has it.")
    ] = None,
    file: Annotated[str | None, typer.Option("--file", help=f"The file of rules; by default {RULES}.")] = None,
    as_json: Json = False,
) -> None:
    """Show what the rules give to jobs of somebody, which rule decides each value, and what becomes of wishes."""
    who = Submitter(user, _groups(user) if group is None else tuple(filter(None, group)), partition)
    decided = _rules(file).decide(who)
    for asked in wish or ():
        if asked.partition("=")[0] not in WISHES:
            raise RequestError(object="--wish", value=asked, reason="is not known", hint=f"known: {', '.join(WISHES)}")
    wished = [_granted(one, decided, who) for one in wish or ()]
    if as_json:
        values = {KEYS.get(name, name): encode(value) for name, value in decided.named().items()}
        print_json({"user": user, "groups": who.groups, "partition": partition, "values": values, "wishes": wished})
    else:
        if not _is_there(file):
            print(NO_RULES)
        print(f"{who}, groups: {', '.join(who.groups) or 'none'}")
        show.console().print(_values(decided))
        for one in wished:
            print(f"{one['wish']}: {one['refused'] or 'gets ' + one['gets']}")
    if any(one["refused"] for one in wished):
        raise typer.Exit(REFUSED)


def _is_there(file: str | None) -> bool:
    return os.path.exists(file or RULES)


def _rules(file: str | None, name: str = "") -> Rules:
    """Return the rules of a file; where none is named, this machine's, which may have none.

    :raises NotFoundError: the file that is named is not there
    :raises ConfigError: it can't be read, or is broken
    """
    if _is_there(file):
        return load_rules(os.path.abspath(file or RULES), name)
    if file is None:
        return Rules()
    raise NotFoundError(object="file of rules", value=file, reason="is not there")


def _groups(user: str) -> tuple[str, ...]:
    try:
        pwd.getpwnam(user)
    except KeyError:
        raise NotFoundError(
            object=f"user {user}", reason="this machine knows no such user",
            hint="name the user's Unix groups with --group, or ask on a node",
        ) from None  # fmt: skip
    return groups(user)


def _granted(wish: str, decided: Values, who: Submitter) -> dict[str, str]:
    """Return what becomes of one wish: ``{"wish", "gets", "refused"}``."""
    key, _equals, text = wish.partition("=")
    sizes: dict[str, tuple[Callable[[str], int], RangeRule]] = {
        "cpus": (_count, decided.cpus or RangeRule(unit="", fixed=True)),
        "memory": (lambda size: size_mib(size, "memory"), decided.memory or RangeRule(fixed=True)),
        "scratch": (lambda size: size_mib(size, "scratch"), decided.scratch or RangeRule()),
    }
    try:
        if key == "image":
            return {"wish": wish, "gets": decided.granted_image(check_tag(text), who), "refused": ""}
        read, limits = sizes[key]
        return {"wish": wish, "gets": limits.shown(limits.granted(key, read(text))), "refused": ""}
    except RequestError as error:
        return {"wish": wish, "gets": "", "refused": str(error)}


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise RequestError(object="cpus", value=text[:80], reason="is not a number")
    return int(text)


def _values(decided: Values) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("SETTING", "VALUE", "RULE"):
        table.add_column(column, overflow="fold")
    named = decided.named()
    for field in fields(Values):
        value = named.get(field.name)
        said = "; ".join(_said(value)) if value else "as the job asks and bait.yml allows"
        table.add_row(KEYS.get(field.name, field.name), Text(said), Text(value.where if value else "no rule"))
    return table


def _said(value: ImageRule | RangeRule | AllowRule) -> Iterable[str]:
    if isinstance(value, ImageRule):
        yield value.tag or "none: a job that names none is a real job"
    elif isinstance(value, AllowRule):
        yield ", ".join(value.allowed) or "none"
    else:
        bounds = {"by default": value.default, "at least": value.min, "at most": value.max}
        told = [f"{bound} {value.shown(amount)}" for bound, amount in bounds.items() if amount is not None]
        yield from told or ["not limited"]
