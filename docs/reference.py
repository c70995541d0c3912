# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages of the documentation that the code tells best itself: configuration files, states, playbooks.

``python -m docs.reference FOLDER`` writes them; tools/docs does that for each build.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml

from wnodes.bait.config import BaitConfig
from wnodes.hypervisor.config import HypervisorConfig
from wnodes.image.recipe.operations import Recipe
from wnodes.model.states import JOB_MOVES, POOL_MOVES, VM_MOVES
from wnodes.nameserver.config import NameserverConfig

from .drawing import draw

ROOT = Path(__file__).resolve().parents[1]

CONFIGURATIONS = {"nameserver": NameserverConfig, "hypervisor": HypervisorConfig, "bait": BaitConfig}
#: described elsewhere
ELSEWHERE = {Recipe: "[keys of a recipe](../images.md#keys-of-a-recipe)"}
WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}
#: what is drawn, how its states are introduced, and which of them are beside the usual way
LIVES: dict[str, tuple[str, Mapping[Any, frozenset[Any]], tuple[str, ...]]] = {
    "A virtual job": ("as its bait sees it", JOB_MOVES, ("CANCELLED", "RETURNED", "REFUSED")),
    "A VM": ("as its hypervisor sees it", VM_MOVES, ("BROKEN",)),
    "A waiting VM": ("as its bait sees it", POOL_MOVES, ("LEAVING",)),
}


class UndescribedError(Exception):
    """A field of a configuration has no ``:param``."""


def meanings(kind: type) -> dict[str, str]:
    """Return what the docstring of a dataclass says of each field, and of itself under ``""``."""
    found = re.findall(r":param (\w+): (.*?)(?=\n\s*:|\n\s*\n|\Z)", kind.__doc__ or "", re.DOTALL)
    told = {"": (kind.__doc__ or "").partition(":param")[0], **dict(found)}
    return {name: markdown(said) for name, said in told.items()}


def markdown(text: str) -> str:
    """Return a docstring's text; what stands in angle brackets is no HTML."""
    return re.sub(r"(`[^`]+`)|<", lambda hit: hit[1] or "&lt;", " ".join(text.replace("``", "`").split()))


def nested(kind: Any) -> type | None:
    """Return the dataclass that a field holds, alone or in a list."""
    inner = get_args(kind)[0] if get_origin(kind) in (tuple, Union) else kind
    return inner if dataclasses.is_dataclass(inner) and isinstance(inner, type) and inner not in ELSEWHERE else None


def described(kind: Any, link: str) -> str:
    """Return the words for the type of a field; ``link`` leads to what it holds."""
    if kind in ELSEWHERE:
        return ELSEWHERE[kind]
    if get_origin(kind) is tuple:
        return "list of " + re.sub(r"^(text|number)$", r"\1s", described(get_args(kind)[0], link))
    return f"[mapping](#{link})" if nested(kind) else WORDS[kind]


def default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "" if field.default_factory is not dataclasses.MISSING else "must be given"
    if field.default in ("", ()):
        return "empty"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return f"`{field.default:g}`" if isinstance(field.default, float) else f"`{field.default}`"


def sections(kind: type, title: str, setters: Mapping[str, str]) -> Iterator[str]:
    """Yield a configuration as Markdown: one table, then one for each mapping in it.

    :param title: the file, and the keys that lead here
    :param setters: variables of the role that set a key; ``""``: all other keys; none at all below the first table
    """
    told, hints = meanings(kind), get_type_hints(kind)
    rows, below = [], []
    for field in dataclasses.fields(kind):
        if field.name not in told:
            raise UndescribedError(f"{kind.__module__}.{kind.__qualname__}: {field.name} has no :param")
        inner = nested(hints[field.name])
        inner_title = f"{title}{'.' if ': ' in title else ': '}{field.name}"
        if inner is not None:
            below.append((inner, inner_title))
        row = [f"`{field.name}`", described(hints[field.name], slug(inner_title)), default(field), told[field.name]]
        rows.append([*row, setters.get(field.name, setters[""])] if setters else row)
    head = ["key", "type", "default", "meaning", *(["variable"] if setters else [])]
    yield f"{'##' if setters else '###'} {title}\n\n{told['']}\n\n{table(head, rows)}"
    for inner, inner_title in below:
        yield from sections(inner, inner_title, {})


def slug(title: str) -> str:
    """Return the anchor of a heading, as MyST and code hosts make it."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def setters(role: str) -> dict[str, str]:
    """Return which variables of a role set which key of its service's configuration; ``""`` is for all others."""
    config = yaml.safe_load((ROOT / "roles" / role / "vars" / "main.yml").read_text())[f"__{role}_config"]
    if isinstance(config, str):
        pairs = dict(re.findall(r"'(\w+)': (.+)", config))
    else:
        pairs = {key: str(value) for key, value in config.items()}
    variable = re.compile(r"\b(?:runtime|nameserver|hypervisor|bait)_(?!_)\w+")
    sets = {key: set(variable.findall(said)) for key, said in pairs.items()}
    others = f"{role}_settings"
    sets[""] = {others} if others in str(config) else set()
    return {key: ", ".join(f"`{name}`" for name in sorted(names - {others}) or names) for key, names in sets.items()}


def configuration() -> str:
    """Return the page about the services' configuration files."""
    parts = [
        "# Configuration files\n\n"
        "Each service reads one file in `/etc/wnodes`. The roles write them from variables, which the last column "
        "names: change the variable and run the playbook `site`. Keys that are not written have their default. "
        "Times are in seconds, sizes in MiB. A key that is unknown or wrong keeps the service from starting; its "
        "journal names file, key, value and what is allowed."
    ]
    for role, kind in CONFIGURATIONS.items():
        parts += sections(kind, f"{role}.yml", setters(role))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def states(drawings: dict[str, str]) -> str:
    """Return the page about states; put their drawings (SVG) into ``drawings`` by file name."""
    parts = ["# States\n\nDrawn from the tables in `model/states.py`, which every move is checked against."]
    for title, (seen, moves, beside) in LIVES.items():
        name = f"{slug(title)}.svg"
        plain = {state.value: {after.value for after in moves[state]} for state in moves}
        drawings[name] = draw(plain, beside)
        kind: type[Enum] = type(next(iter(moves)))
        rows = [[f"`{state.value}`", ", ".join(f"`{a.value}`" for a in kind if a in moves[state])] for state in moves]
        parts.append(f"## {title}, {seen}\n\n![{title}: states and moves]({name})\n\n{table(['state', 'next'], rows)}")
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def playbooks() -> str:
    """Return the page about playbooks: what each says of itself, and on whom it works."""
    parts = ["# Playbooks\n\nEach is `wnodes.farm.<name>` for `ansible-playbook`."]
    for path in sorted((ROOT / "playbooks").glob("*.yml")):
        text = path.read_text()
        # the comment after the licence's
        said = re.findall(r"(?:^# .*\n)+", text, re.MULTILINE)[1]
        rows = [
            [play["name"], f"`{play['hosts']}`" if "hosts" in play else f"playbook `{Path(imported).stem}`"]
            for play in yaml.safe_load(text)
            for imported in [play.get("ansible.builtin.import_playbook", "")]
        ]
        about = " ".join(said.replace("# ", " ").split())
        parts.append(f"## {path.stem}\n\n{about}\n\n{table(['play', 'on'], rows)}")
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def pages() -> dict[str, str]:
    """Return all generated files by name."""
    found: dict[str, str] = {"configuration.md": configuration(), "playbooks.md": playbooks()}
    found["states.md"] = states(found)
    return found


if __name__ == "__main__":
    for page, content in pages().items():
        Path(sys.argv[1], page).write_text(content)
