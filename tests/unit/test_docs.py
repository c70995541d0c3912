# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation names exists: commands, options, playbooks, roles, modules, variables, files, links."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from docs import reference
from tests.documents import DOCS, FENCE, ROOT, blocks, commands
from wnodes.bait.config import BaitConfig, PoolConfig, PoolFlavour
from wnodes.doctor.catalogue import CHECKS
from wnodes.hypervisor.config import HypervisorConfig
from wnodes.image.recipe.spec import RECIPE_SPEC
from wnodes.model.codec import decode
from wnodes_services.cli.main import app
from wnodes_services.rules import parse

SETTINGS = {"hypervisor_settings": HypervisorConfig, "bait_settings": BaitConfig, "bait_pool": PoolConfig}
#: what the services can't do without
LEAST = {"host": "hv1", "nameserver": {"url": "https://head"}}

CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def stems(folder: str, pattern: str) -> set[str]:
    return {path.stem for path in (ROOT / folder).glob(pattern)}


ROLES = stems("roles", "*")
PROGRAMS = ("plugins/module_utils", "roles/runtime/files/wnodes_services")
NAMES = {"playbook": stems("playbooks", "*.yml"), "role": ROLES, "module": stems("plugins/modules", "*.py")}
GENERATED = set(reference.pages())
VARIABLE = re.compile(rf"(?<!wnodes_services[./])\b(?:{'|'.join(sorted(ROLES, key=len, reverse=True))})_[a-z0-9_]+\b")


def options_of(entry: dict[str, Any]) -> Iterator[str]:
    """Yield the names of options and of what they hold."""
    for name, option in entry.get("options", {}).items():
        yield name
        yield from options_of(option)


SPECS: dict[str, dict[str, Any]] = {
    role: yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    for role in ROLES
}
VARIABLES = {name for entries in SPECS.values() for entry in entries.values() for name in options_of(entry)}
VARIABLES |= {name for path in (ROOT / "playbooks").glob("*.yml") for name in VARIABLE.findall(path.read_text())}
RECIPE: dict[str, Any] = SPECS["images"]["recipe"]["options"]["images_recipe"]["options"]

every_doc = pytest.mark.parametrize("doc", DOCS, ids=lambda doc: doc.name)


def mentions(doc: Path) -> list[str]:
    """Return what is set as code within sentences."""
    return CODE.findall(FENCE.sub("", doc.read_text()))


def typed(doc: Path) -> Iterator[list[str]]:
    """Yield the words of each simple command that a reader is told to type."""
    for command in commands(doc):
        yield from simple_commands(command.text)


def simple_commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words: list[str] = []
    for word in lexer:
        if word.strip(";|&"):
            words.append(word)
            inner = word.partition("CMD=")[2]
            yield from simple_commands(inner) if inner else ()
        else:
            yield words
            words = []
    yield words


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """Return what Typer makes of ``wnodes …`` and the words that are left for it; LookupError if there is no such."""
    command, rest = typer.main.get_command(app), words[1:]
    while rest and not rest[0].startswith("-") and (below := getattr(command, "commands", {})):
        command, rest = below[rest[0]], rest[1:]
    return command, rest


@every_doc
def test_command_lines_of_wnodes_would_be_taken(doc: Path) -> None:
    for words in typed(doc):
        if words[:1] == ["wnodes"]:
            command, rest = find_command(words)
            command.make_context("wnodes", rest)  # parses and checks, runs nothing


@every_doc
def test_commands_of_wnodes_in_sentences_exist_with_their_options(doc: Path) -> None:
    for mention in mentions(doc):
        for words in simple_commands(mention) if mention.startswith("wnodes ") else ():
            command, rest = find_command(words)
            known = {option for parameter in command.params for option in parameter.opts}
            assert {word for word in rest if word.startswith("-")} - known == set(), mention


@every_doc
def test_playbooks_roles_and_modules_exist(doc: Path) -> None:
    text = doc.read_text()
    named = {
        (kind, name)
        for kind, listed in re.findall(r"\b(playbook|role|module)s?((?:,? (?:and |or )?`[a-z_]+`)+)", text)
        for name in CODE.findall(listed)
    }
    kinds = {"ansible-playbook": "playbook", "-t role": "role", "-m": "module", "ansible-doc": "module"}
    for line in re.findall(r"^[$#] (ansible.*)", text, re.MULTILINE):
        kind = next((kind for option, kind in kinds.items() if f"{option} " in line), "")
        named |= {(kind, name) for name in re.findall(r"wnodes\.farm\.(\w+)", line)}
    assert {(kind, name) for kind, name in named if name not in NAMES[kind]} == set()


@every_doc
def test_variables_exist(doc: Path) -> None:
    blocks_of = [text for _language, text in FENCE.findall(doc.read_text())]
    used = {name for text in [*mentions(doc), *blocks_of] for name in VARIABLE.findall(text)}
    assert used - VARIABLES - ROLES - NAMES["playbook"] == set()
    for text in mentions(doc):
        name, _dot, key = text.partition(".")
        if name in SETTINGS and key:
            assert key in {field.name for field in dataclasses.fields(SETTINGS[name])}, text


@every_doc
def test_yaml_is_what_its_reader_takes(doc: Path) -> None:
    for text in blocks(doc, "yaml"):
        found = yaml.safe_load(text)
        if isinstance(found, list):
            assert parse(text, doc.name).rules
            continue
        assert set(found) - VARIABLES - set(RECIPE) - {"all"} == set()
        if "base" in found:
            mine = {key: value for key, value in found.items() if key in RECIPE_SPEC}
            checks = [(RECIPE, found), (RECIPE_SPEC, mine)]
            assert [ArgumentSpecValidator(spec).validate(given).error_messages for spec, given in checks] == [[], []]
        decode(HypervisorConfig, {**LEAST, **found.get("hypervisor_settings", {})})
        bait = {"slurm": {"node": "hv1"}, "pool": found.get("bait_pool", {}), **found.get("bait_settings", {})}
        decode(BaitConfig, {**LEAST, **bait})


@pytest.mark.parametrize(("path", "config"), [("bait_pool", PoolConfig), ("bait_pool.flavours", PoolFlavour)])
def test_waiting_vms_are_described_as_the_bait_takes_them(path: str, config: type) -> None:
    entry = SPECS["bait"]["main"]
    for name in path.split("."):
        entry = entry["options"][name]
    told = {name: None if option.get("required") else option["default"] for name, option in entry["options"].items()}
    taken = {field.name: field.default for field in dataclasses.fields(config)}
    assert told == {name: {dataclasses.MISSING: None, (): []}.get(value, value) for name, value in taken.items()}


@every_doc
def test_files_of_the_collection_exist(doc: Path) -> None:
    tops = {path.name for path in ROOT.iterdir() if path.is_dir()} - {".cache", ".git"}
    for mention in mentions(doc):
        if mention.partition("/")[0] in tops and not re.search(r"[<>…\s]", mention):
            anywhere = [ROOT, *(ROOT / "roles").iterdir()]
            assert any(found for top in anywhere for found in top.glob(mention.rstrip("/"))), mention


@every_doc
def test_make_has_the_targets(doc: Path) -> None:
    makefiles = [ROOT / "Makefile", *(ROOT / "make").glob("*.mk")]
    targets = {name for path in makefiles for name in re.findall(r"^([a-z0-9-]+):", path.read_text(), re.MULTILINE)}
    asked = {words[1] for words in typed(doc) if words[:1] == ["make"]}
    asked |= {mention.split()[1] for mention in mentions(doc) if mention.startswith("make ")}
    assert asked - targets == set()


@every_doc
def test_links_lead_somewhere(doc: Path) -> None:
    for target in LINK.findall(doc.read_text()):
        path, _hash, anchor = target.partition("#")
        if "://" in target:
            parts = urlsplit(target)
            assert (parts.scheme, "." in parts.netloc) == ("https", True), target
        elif path.startswith(("reference/", "collection/")):
            # made by tools/docs, which follows links into them
            assert path.startswith("collection/") or path.partition("/")[2] in GENERATED, target
        else:
            there = doc.parent / path if path else doc
            assert there.exists(), target
            headings = re.findall(r"^#+ (.+)$", FENCE.sub("", there.read_text()), re.MULTILINE) if anchor else []
            slugs = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert not anchor or anchor in slugs, target


@every_doc
def test_headings_name_a_subject_and_ask_no_question(doc: Path) -> None:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", doc.read_text()), re.MULTILINE)
    assert [heading for heading in headings if "?" in heading or heading.startswith("I ")] == []


def test_every_page_is_in_the_index() -> None:
    toctrees = re.findall(r"^```\{toctree\}\n(.*?)^```$", (ROOT / "docs/index.md").read_text(), re.M | re.S)
    listed = {line for block in toctrees for line in block.splitlines() if line and not line.startswith(":")}
    there = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert there - listed == set()
    assert {page for page in listed if "/" not in page} - there == set()


#: quoted in tables of symptoms, but said by Slurm
SLURM_SAYS = {"Unable to contact slurm controller", "Invalid credential"}


@pytest.mark.parametrize("page", ["troubleshooting.md", "images.md"])
def test_messages_that_readers_are_told_to_look_for_are_ours(page: str) -> None:
    code = "".join(path.read_text() for top in PROGRAMS for path in (ROOT / top).rglob("*.py"))
    firsts = re.findall(r"^\| (.*?) \|", FENCE.sub("", (ROOT / "docs" / page).read_text()), re.MULTILINE)
    messages = {said for first in firsts for said in CODE.findall(first) if " " in said and "wnodes " not in said}
    pieces = {piece.strip() for said in messages - SLURM_SAYS for piece in re.split("…|: ", said)}
    assert {piece for piece in pieces if len(piece) > 3 and piece not in code} == set()


def test_every_check_of_the_doctor_has_its_row_and_its_mark() -> None:
    rows = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` ?([¹²]?) \| ", (ROOT / "docs" / "doctor.md").read_text(), re.MULTILINE)
    marks = {None: "", True: "¹", False: "²"}
    assert sorted(rows) == sorted((check.name, marks[check.running]) for check in CHECKS)
