# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The house rules that a program can check; CONTRIBUTING.md tells them in words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "plugins" / "module_utils"
MODULES = ROOT / "plugins" / "modules"
SERVICES = ROOT / "roles" / "runtime" / "files" / "wnodes_services"
#: left behind by tools, never part of the tree
IGNORED = {".ansible", ".cache", ".git", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".venv"}
#: legal texts are as long as they are
LONG = {"COPYING", "LICENSES/GPL-3.0-or-later.txt"}


def walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            if path.name not in IGNORED and path.name != "__pycache__":
                yield from walk(path)
        elif path.is_file() and path.suffix not in {".pyc", ".gz", ".qcow2", ".png"}:
            yield path


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def python(folder: Path) -> list[Path]:
    return [path for path in walk(folder) if path.suffix == ".py"]


FILES = list(walk(ROOT))


def test_files_are_at_most_500_lines() -> None:
    lengths = {name(path): path.read_text(encoding="utf-8", errors="replace").count("\n") for path in FILES}
    assert {path: lines for path, lines in lengths.items() if lines > 500 and path not in LONG} == {}


FORBIDDEN = {
    "a package registry's host": r"pypi\.org|pythonhosted\.org|npmjs\.org|galaxy\.ansible\.com|(deb|ftp)\.debian\.org",
    "a path of one machine": r"(?<![\w.}-])/(work|opt/(pypi|wheels)|tmp/w)(?=[/\s\"'`:,;)]|$)|[.]pyenv",
    "how the work was organised": r"\bissue [0-9]+\b",
    "unfinished work": r"\b(T[O]DO|F[I]XME|X[X]X)\b",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_tree_does_not_name(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what], re.MULTILINE)
    found = [
        f"{name(path)}: {hit.group(0)}"
        for path in FILES
        for hit in pattern.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


def test_every_program_carries_licence_and_copyright() -> None:
    # REUSE-IgnoreStart
    wanted = ("# Copyright: (c) ", "# SPDX-License-Identifier: GPL-3.0-or-later")
    # REUSE-IgnoreEnd
    bare = []
    for path in FILES:
        text = path.read_text(encoding="utf-8", errors="replace")
        if (path.suffix == ".py" or text.startswith("#!")) and text and not all(line in text[:800] for line in wanted):
            bare.append(name(path))
    assert bare == []


# Layers: a file imports from below, or from its own package. Same rank, other package: see SIDEWAYS.
RANK = {"model": 0, "engine": 1}
RANK.update(dict.fromkeys(("lrms", "virt", "image", "net", "directory", "grid"), 2))
RANK.update(dict.fromkeys(("hook", "bait", "hypervisor", "nameserver", "doctor"), 3))
#: what one program may know of another: how to call it and what its configuration section looks like
SIDEWAYS = {"api", "client", "config", "socketcall"}


def rank(top: str) -> int:
    """Return the layer of a package, or 1 for a file directly in module_utils (it sits on the model)."""
    return RANK[top] if (LIBRARY / top).is_dir() else 1


def library_imports(path: Path) -> Iterator[str]:
    """Yield what a file of the library imports from the library, as dotted names below module_utils."""
    package = path.relative_to(LIBRARY).parent.parts
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module.split(".") if node.module else [])]
            # `from . import x` names modules, `from .x import y` names what is in one.
            yield from (".".join(base),) if node.module else (".".join([*base, alias.name]) for alias in node.names)


def all_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module)


def test_every_package_of_the_library_has_its_layer() -> None:
    packages = {path.name for path in LIBRARY.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert packages - set(RANK) == set()


def test_imports_point_down() -> None:
    wrong = []
    for path in python(LIBRARY):
        own = path.relative_to(LIBRARY).parts[0].removesuffix(".py")
        for target in library_imports(path):
            top, *rest = target.split(".")
            if top == own or rank(top) < rank(own):
                continue
            if rank(top) == rank(own) == 1 or (rank(top) == rank(own) == 3 and rest and rest[0] in SIDEWAYS):
                continue
            wrong.append(f"{name(path)} imports {target}")
    assert wrong == []


def test_the_library_knows_neither_ansible_nor_its_own_absolute_name() -> None:
    forbidden = {"ansible", "ansible_collections", "wnodes", "wnodes_services", "plugins"}
    found = [
        f"{name(path)} imports {target}"
        for path in python(LIBRARY)
        for target in all_imports(path)
        if target.split(".")[0] in forbidden
    ]
    assert found == []


def type_names(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield the public types that a file names, and whether each is a class; others are aliases."""
    for node in parsed(path).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, True
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and re.match(r"[A-Z]\w*[a-z]", target.id):
            yield target.id, False


def test_no_two_public_classes_share_a_name() -> None:
    """Nor does an alias take the name of a class: who meets a name need not ask whose it is."""
    named: dict[str, list[tuple[str, bool]]] = {}
    for path in (*python(LIBRARY), *python(SERVICES)):
        for found, is_class in type_names(path):
            named.setdefault(found, []).append((name(path), is_class))
    twins = {found: uses for found, uses in named.items() if len(uses) > 1 and any(is_class for _, is_class in uses)}
    assert {found: [path for path, _ in uses] for found, uses in twins.items()} == {}


def narrows(test: ast.expr) -> bool:
    """Tell whether an assertion only tells mypy a type: `x is not None`, `isinstance(x, T)`."""
    if isinstance(test, ast.Compare):
        return isinstance(test.ops[0], ast.IsNot) and ast.unparse(test.comparators[0]) == "None"
    return isinstance(test, ast.Call) and ast.unparse(test.func) == "isinstance"


def test_assertions_validate_nothing() -> None:
    found = [
        f"{name(path)}:{node.lineno}"
        for path in sources()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Assert) and not narrows(node.test)
    ]
    assert found == []


def documentation(path: Path) -> tuple[dict[str, str], int]:
    """Return the documentation blocks of a module and the line on which the last one ends."""
    blocks, end = {}, 0
    for node in parsed(path).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            title = node.targets[0].id
            if title in {"DOCUMENTATION", "EXAMPLES", "RETURN"}:
                blocks[title], end = ast.literal_eval(node.value), max(end, node.end_lineno or 0)
    return blocks, end


@pytest.mark.parametrize("path", python(MODULES), ids=lambda path: path.stem)
def test_modules_are_thin_documented_and_tested(path: Path) -> None:
    blocks, end = documentation(path)
    assert set(blocks) == {"DOCUMENTATION", "EXAMPLES", "RETURN"}
    assert path.read_text(encoding="utf-8").count("\n") - end <= 200
    assert (ROOT / "tests" / "unit" / "plugins" / "modules" / f"test_{path.name}").is_file()


every_role = pytest.mark.parametrize("role", sorted((ROOT / "roles").iterdir()), ids=lambda role: role.name)


@every_role
def test_internal_variables_of_roles_begin_with_two_underscores(role: Path) -> None:
    below = [path for top in ("roles", "playbooks", "extensions") for path in walk(ROOT / top)]
    texts = [path.read_text(encoding="utf-8") for path in below if path.suffix in {".yml", ".j2"}]
    assert {found for text in texts for found in re.findall(rf"\b{role.name}__\w+", text)} == set()


@every_role
def test_roles_have_a_scenario(role: Path) -> None:
    scenario = ROOT / "extensions" / "molecule" / role.name
    assert [step for step in ("molecule", "converge", "verify") if not (scenario / f"{step}.yml").is_file()] == []


@cache
def parsed(path: Path) -> ast.Module:
    """Return a file's syntax tree; several rules look at each."""
    return ast.parse(path.read_text(encoding="utf-8"))


def mirrors(source: Path) -> list[Path]:
    """Return where the test of a source file may be: the same folder below a test root."""
    relative = source.relative_to(ROOT)
    return [ROOT / "tests" / kind / relative.parent / f"test_{relative.name}" for kind in ("unit", "integration")]


def sources() -> list[Path]:
    return [path for folder in (LIBRARY, MODULES, SERVICES) for path in python(folder)]


def imported_names(path: Path) -> Iterator[str]:
    """Yield `package.module` and `package.module.name` for all that a test imports."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


#: covered through those who use it; these tests would notice
TESTED_THROUGH = {
    "plugins/module_utils/nameserver/catalogue.py": "plugins/modules/test_image_tag.py",
    "plugins/module_utils/nameserver/services.py": "plugins/modules/test_node_info.py",
    "plugins/module_utils/nameserver/garbage.py": "roles/runtime/files/wnodes_services/cli/test_images.py",
    "plugins/module_utils/hypervisor/context.py": "plugins/module_utils/hypervisor/test_lifecycle.py",
    "plugins/module_utils/hypervisor/template_store.py": "plugins/module_utils/hypervisor/test_templates.py",
    "plugins/module_utils/bait/explain.py": "plugins/module_utils/bait/test_journey.py",
    "plugins/module_utils/lrms/fake.py": "plugins/module_utils/bait/test_journey.py",
    "plugins/module_utils/model/clock.py": "plugins/module_utils/hypervisor/test_lifecycle.py",
    "plugins/module_utils/model/image.py": "plugins/module_utils/directory/test_sqlite.py",
    "plugins/module_utils/model/lease.py": "plugins/module_utils/directory/test_sqlite.py",
}


def texts(value: object) -> Iterator[str]:
    """Yield every text in what a YAML file holds."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from texts(key)
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


def test_what_roles_replace_by_patterns_names_its_groups_with_one_backslash() -> None:
    # Of two, Ansible makes the text \\1 instead of what the group has found, and nobody complains.
    files = [path for path in FILES if path.suffix == ".yml" and name(path).startswith(("roles/", "playbooks/"))]
    documents = {name(path): yaml.safe_load_all(path.read_text()) for path in files}
    found = [
        path for path, parts in documents.items() if any(re.search(r"\\\\[0-9]", text) for text in texts(list(parts)))
    ]
    assert found == []


def test_every_source_file_is_tested_where_it_mirrors() -> None:
    """A file has a test of its own, or one of its folder's tests, or of the broad ones, uses it under its name."""
    assert [test for test in TESTED_THROUGH.values() if not (ROOT / "tests" / "unit" / test).is_file()] == []
    broad = sorted((ROOT / "tests" / "integration").glob("test_*.py"))
    without = []
    for path in sources():
        # Abstract classes and package files hold nothing that could fail alone.
        if path.name in {"__init__.py", "__main__.py", "base.py"} or any(map(Path.is_file, mirrors(path))):
            continue
        if name(path) in TESTED_THROUGH:
            continue
        tests = broad + [test for mirror in mirrors(path) for test in python(mirror.parent)]
        tail = ".".join(path.relative_to(ROOT).with_suffix("").parts[-2:])
        if not any(found.endswith(tail) for test in tests for found in imported_names(test)):
            without.append(name(path))
    assert without == []


def test_every_mirrored_test_has_its_source() -> None:
    wanted = {mirror for path in sources() for mirror in mirrors(path)}
    below = [ROOT / "tests" / "unit" / top for top in ("plugins", "roles")]
    orphans = [name(path) for top in below for path in python(top) if path.name.startswith("test_")]
    assert sorted(set(orphans) - set(map(name, wanted))) == []


def test_tests_do_not_sleep() -> None:
    sleepers = []
    for path in python(ROOT / "tests"):
        for node in ast.walk(parsed(path)):
            called = node.func if isinstance(node, ast.Call) else None
            if getattr(called, "attr", getattr(called, "id", "")) == "sleep":
                sleepers.append(f"{name(path)}:{node.lineno}")
    # The one that shows that it is forbidden:
    assert [where for where in sleepers if "test_closed_in.py" not in where] == []


def requirements(path: Path) -> set[str]:
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {line for line in lines if line}


def test_what_is_tested_is_what_is_installed_on_the_nodes() -> None:
    on_nodes = requirements(ROOT / "roles" / "runtime" / "files" / "requirements.txt")
    assert on_nodes - requirements(ROOT / "requirements-dev.txt") == set()
