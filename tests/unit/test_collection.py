# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes this a first-class collection, as far as it can be read from the tree."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from wnodes.hypervisor.client import ACCESS_SPEC as HYPERVISOR_SPEC
from wnodes.image.recipe.spec import RECIPE_SPEC
from wnodes.nameserver.client import ACCESS_SPEC as NAMESERVER_SPEC

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = "ansible_collections.wnodes.farm.plugins"
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
INFO = [name for name in MODULES if name.endswith("_info")]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
#: options that several modules share, or that are many: one fragment, one specification
SHARED = {"recipe": RECIPE_SPEC, "hypervisor": HYPERVISOR_SPEC, "nameserver": NAMESERVER_SPEC}
SECRET = re.compile(r"key|password|passphrase|secret|token", re.IGNORECASE)

every_module = pytest.mark.parametrize("name", MODULES)
every_role = pytest.mark.parametrize("role", ROLES)


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def fragment(name: str) -> dict[str, Any]:
    """Return what a doc fragment says; ``attributes.info_module`` is a part of ``attributes``."""
    file, _dot, part = name.partition(".")
    found = importlib.import_module(f"{PLUGINS}.doc_fragments.{file}").ModuleDocFragment
    said: dict[str, Any] = yaml.safe_load(getattr(found, part.upper() or "DOCUMENTATION"))
    return said


def blocks(name: str) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """Return a module's DOCUMENTATION with its fragments, its EXAMPLES and its RETURN."""
    module = importlib.import_module(f"{PLUGINS}.modules.{name}")
    documented: dict[str, Any] = yaml.safe_load(module.DOCUMENTATION)
    for used in documented["extends_documentation_fragment"]:
        for key, said in fragment(used.removeprefix("wnodes.farm.")).items():
            mine = documented.setdefault(key, {})
            for item, content in said.items():
                mine[item] = {**content, **mine.get(item, {})}
    return documented, yaml.safe_load(module.EXAMPLES), yaml.safe_load(module.RETURN)


def options_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return options and what they hold, by name."""
    found = dict(options)
    for option in options.values():
        found.update(options_of(option.get("suboptions") or option.get("options") or {}))
    return found


@every_module
def test_modules_say_how_they_behave(name: str) -> None:
    documented, _examples, _returned = blocks(name)
    attributes = documented["attributes"]
    assert set(attributes) == {"check_mode", "diff_mode", "idempotent", "platform"}
    for attribute, said in attributes.items():
        assert said.get("support") in ("full", "partial", "none", "N/A"), attribute
        assert said["support"] == "full" or said.get("details") or attribute == "diff_mode", attribute
        assert said["description"]
    assert documented["version_added"]


@every_module
def test_examples_use_full_names(name: str) -> None:
    _documented, examples, _returned = blocks(name)
    used = [key for task in examples for key in task if "." in key]
    assert len(used) == len(examples)
    assert f"wnodes.farm.{name}" in used
    assert all(key.startswith(("ansible.builtin.", "wnodes.farm.")) for key in used)


@every_module
def test_options_and_modules_are_marked_as_such(name: str) -> None:
    documented, _examples, _returned = blocks(name)
    written = " ".join(map(str, documented["description"])) + str(documented["options"])
    as_code = set(re.findall(r"\bC\((\w+)\)", written)) | set(re.findall(r"`(\w+)`", written))
    assert as_code & {*documented["options"], *MODULES} == set()


@every_module
def test_modules_name_their_neighbours(name: str) -> None:
    documented, _examples, _returned = blocks(name)
    named = {entry["module"].removeprefix("wnodes.farm.") for entry in documented["seealso"] if "module" in entry}
    assert named - set(MODULES) == set()


@every_module
def test_what_is_returned_is_described(name: str) -> None:
    def check(returned: dict[str, Any], inner: bool) -> None:
        for key, said in returned.items():
            assert said["description"] and said["type"], key
            assert inner or said["returned"], key
            assert said["type"] != "list" or said["elements"], key
            check(said.get("contains", {}), True)

    _documented, _examples, returned = blocks(name)
    assert {"failure", "always"} & {said["returned"] for said in returned.values()}
    check(returned, False)


@pytest.mark.parametrize("name", INFO)
def test_info_modules_only_read(name: str) -> None:
    documented, _examples, _returned = blocks(name)
    assert "wnodes.farm.attributes.info_module" in documented["extends_documentation_fragment"]
    assert "only_reads" in (ROOT / "tests" / "unit" / "plugins" / "modules" / f"test_{name}.py").read_text()


@every_module
def test_modules_are_put_through_the_matrix(name: str) -> None:
    documented, _examples, _returned = blocks(name)
    test = (ROOT / "tests" / "unit" / "plugins" / "modules" / f"test_{name}.py").read_text()
    assert "tests.unit.plugins.modules.matrix import" in test
    if documented["attributes"]["idempotent"]["support"] != "none":
        assert re.search(r"\b(walk|only_reads)\(", test)


@every_module
def test_secrets_are_marked_and_paths_to_them_are_not(name: str) -> None:
    source = (ROOT / "plugins" / "modules" / f"{name}.py").read_text()
    documented, _examples, _returned = blocks(name)
    own = {option: said for option, said in documented["options"].items() if SECRET.search(option)}
    for option, said in own.items():
        specified = re.search(rf'"{option}": \{{[^}}]*\}}', source)
        if specified is None:
            assert any(option in spec for spec in SHARED.values())
        elif said["type"] in ("str", "path") and "certificate" not in option:
            assert f'"no_log": {said["type"] != "path"}' in specified.group(0), option


def test_shared_options_have_one_fragment_and_one_specification() -> None:
    fragments = {path.stem for path in (ROOT / "plugins" / "doc_fragments").glob("*.py")}
    assert fragments == {"attributes", *SHARED}
    for name, spec in SHARED.items():
        told = fragment(name)["options"]
        kinds = {option: (said["type"], said.get("default")) for option, said in told.items()}
        assert kinds == {option: (said.get("type", "str"), said.get("default")) for option, said in spec.items()}


def test_module_defaults_reach_every_module() -> None:
    assert read("meta/runtime.yml")["action_groups"] == {"farm": MODULES}


@every_role
def test_entry_points_of_roles_are_described_and_there(role: str) -> None:
    entries = read(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]
    for entry, said in entries.items():
        assert said["short_description"] and said["description"], entry
        for option, told in options_of(said.get("options", {})).items():
            assert told["description"] and told["type"], option
    tasks = {path.stem for path in (ROOT / "roles" / role / "tasks").glob("*.yml")}
    assert "main" in tasks


@every_role
def test_defaults_of_roles_are_told_as_they_are(role: str) -> None:
    path = ROOT / "roles" / role / "defaults" / "main.yml"
    defaults = (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}
    entries = read(f"roles/{role}/meta/argument_specs.yml")["argument_specs"].values()
    told = {name: option for entry in entries for name, option in entry.get("options", {}).items()}
    assert set(defaults) - set(told) == set()
    literal = {name: value for name, value in defaults.items() if "{{" not in str(value) and "default" in told[name]}
    assert {name: told[name]["default"] for name in literal} == literal


def supported() -> dict[str, list[str]]:
    """Return, by ansible-core, the Pythons that tools/sanity takes for it."""
    lines = re.search(r"^supported='(.*?)'", (ROOT / "tools" / "sanity").read_text(), re.MULTILINE | re.DOTALL)
    assert lines is not None
    return {core: pythons for core, *pythons in map(str.split, lines.group(1).splitlines())}


def test_the_same_versions_of_ansible_core_are_supported_everywhere() -> None:
    versions = list(supported())
    assert read("meta/runtime.yml")["requires_ansible"] == f">={versions[0]}.0"
    ignored = {path.stem.removeprefix("ignore-") for path in (ROOT / "tests" / "sanity").glob("ignore-*.txt")}
    assert ignored == set(versions)
    page = (ROOT / "docs" / "dependencies.md").read_text()
    assert f"| ansible-core | {', '.join(versions)} |" in page
    oldest = {read(f"roles/{role}/meta/main.yml")["galaxy_info"]["min_ansible_version"] for role in ROLES}
    assert oldest == {versions[0]}


def test_every_ignored_line_of_the_sanity_tests_says_why() -> None:
    for path in (ROOT / "tests" / "sanity").glob("ignore-*.txt"):
        assert [line for line in path.read_text().splitlines() if not re.search(r"  # \S+ \S+", line)] == []


def requirements(path: str) -> set[str]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / path).read_text().splitlines())
    return {re.split(r"[<>=~ \[]", line)[0] for line in lines if line}


def packages(role: str) -> set[str]:
    """Return the distribution's packages that a role installs, or puts into an image."""
    found = set()
    for path in (ROOT / "roles" / role).glob("[dv]*/*.yml"):
        for name, value in (yaml.safe_load(path.read_text()) or {}).items():
            found |= set(value) if name.endswith("_packages") and isinstance(value, list) else set()
    return found


def bootstrapped() -> set[str]:
    listed = re.search(r"^packages='(.*?)'", (ROOT / "tools" / "bootstrap").read_text(), re.MULTILINE | re.DOTALL)
    assert listed is not None
    return set(listed.group(1).split())


NEEDED = {
    **{path: requirements(path) for path in ("requirements-dev.txt", "roles/runtime/files/requirements.txt")},
    **{path: requirements(path) for path in ("meta/ee-requirements.txt", "meta/ee-bindep.txt")},
    "tools/bootstrap": bootstrapped(),
    **{f"roles/{role}": packages(role) for role in ROLES},
}


@pytest.mark.parametrize("where", [where for where, names in NEEDED.items() if names])
def test_every_dependency_has_its_reason(where: str) -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    reasoned = set(re.findall(r"[A-Za-z0-9.+-]+", " ".join(" ".join(row[:-1]) for row in rows if row[-1])))
    assert NEEDED[where] - reasoned == set()


def test_what_the_execution_environment_needs_is_listed_in_files_that_are_there() -> None:
    needed = read("meta/execution-environment.yml")["dependencies"]
    assert set(needed) == {"python", "system"}
    assert all((ROOT / path).is_file() for path in needed.values())


def test_the_rules_of_the_project_are_there() -> None:
    for name in ("CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "COPYING", "REUSE.toml", "SECURITY.md"):
        assert (ROOT / name).stat().st_size > 0
    assert read("galaxy.yml")["license"] == [path.stem for path in (ROOT / "LICENSES").iterdir()]


def test_the_next_release_is_described() -> None:
    sections = {section for section, _title in read("changelogs/config.yaml")["sections"]}
    sections |= {"release_summary", "trivial"}
    for path in (ROOT / "changelogs" / "fragments").glob("*.yml"):
        assert set(yaml.safe_load(path.read_text())) - sections == set(), path.name
