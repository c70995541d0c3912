# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The artefact: built from this tree, installed into an empty place, and as complete there as here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
LIMIT_S = 120
SIZE_LIMIT = 1 << 20
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
ENTRY_POINTS = {
    path.parents[1].name: set(yaml.safe_load(path.read_text())["argument_specs"])
    for path in (ROOT / "roles").glob("*/meta/argument_specs.yml")
}
NEEDED = {
    "README.md", "COPYING", "LICENSES/GPL-3.0-or-later.txt", "MANIFEST.json", "FILES.json", "meta/runtime.yml",
    "meta/execution-environment.yml", "Makefile", "make/demo.mk", "tools/bootstrap", "tools/demo", "tools/lab-sh",
    "requirements-dev.txt", "playbooks/inventory/lab.yml", "tests/config.yml", "tests/sanity/ignore-2.19.txt",
}  # fmt: skip
DEFAULTS = """
- hosts: localhost
  gather_facts: false
  module_defaults:
    group/wnodes.farm.farm:
      socket: /nowhere/told.sock
  tasks:
    - wnodes.farm.vm_info:
      register: result
      failed_when: "'/nowhere/told.sock' not in result.msg"
"""


def run(*argv: str, cwd: Path) -> str:
    """Run a program of this environment and return what it printed; it sees no collections but those in ``cwd``."""
    environment = {
        **os.environ,
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "NO_COLOR": "1",
        "ANSIBLE_HOME": str(cwd / "home"),
        "ANSIBLE_COLLECTIONS_PATH": str(cwd),
        "ANSIBLE_HOST_PATTERN_MISMATCH": "ignore",  # an inventory need not have all groups
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }
    done = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artefact")
    run("ansible-galaxy", "collection", "build", "--output-path", str(folder), str(ROOT), cwd=folder)
    (made,) = folder.glob("wnodes-farm-*.tar.gz")
    return made


@pytest.fixture(scope="module")
def collections(artefact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a path of collections with nothing but what was installed from the artefact."""
    folder = tmp_path_factory.mktemp("collections")
    run("ansible-galaxy", "collection", "install", "--offline", "-p", str(folder), str(artefact), cwd=folder)
    return folder


@pytest.fixture(scope="module")
def farm(collections: Path) -> Path:
    return collections / "ansible_collections" / "wnodes" / "farm"


def test_it_holds_what_is_needed_and_nothing_that_was_left_lying_about(artefact: Path) -> None:
    with tarfile.open(artefact) as archive:
        files = {member.name for member in archive if member.isfile()}
    assert NEEDED - files == set()
    listed = run("git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", cwd=artefact.parent)
    assert files - {"MANIFEST.json", "FILES.json"} - set(listed.splitlines()) == set()
    assert not {name for name in files if name.startswith(("tests/unit", "tests/integration", "tests/e2e", "."))}
    assert artefact.stat().st_size < SIZE_LIMIT


def test_programs_stay_programs(farm: Path) -> None:
    for path in (farm / "tools").iterdir():
        assert os.access(path, os.X_OK), path.name


def test_every_module_documents_itself(collections: Path) -> None:
    names = [f"wnodes.farm.{name}" for name in MODULES]
    told = json.loads(run("ansible-doc", "-t", "module", "--json", *names, cwd=collections))
    assert set(told) == set(names)
    assert all(one["doc"]["short_description"] and one["examples"] and one["return"] for one in told.values())


def test_every_role_documents_all_its_entry_points(collections: Path) -> None:
    names = [f"wnodes.farm.{role}" for role in sorted(ENTRY_POINTS)]
    told: dict[str, Any] = json.loads(run("ansible-doc", "-t", "role", "--json", *names, cwd=collections))
    assert {name: set(one["entry_points"]) for name, one in told.items()} == {
        f"wnodes.farm.{role}": entries for role, entries in ENTRY_POINTS.items()
    }


def test_every_playbook_can_be_read_by_its_full_name(collections: Path, farm: Path) -> None:
    inventory = str(farm / "playbooks" / "inventory" / "lab.yml")
    names = [f"wnodes.farm.{name}" for name in PLAYBOOKS]
    shown = run("ansible-playbook", "--syntax-check", "-i", inventory, *names, cwd=collections)
    assert shown.count("playbook: ") == len(PLAYBOOKS)


def test_defaults_for_the_group_of_our_modules_reach_them(collections: Path) -> None:
    playbook = collections / "defaults.yml"
    playbook.write_text(DEFAULTS)
    python = f"ansible_python_interpreter={sys.executable}"
    assert "ok=1" in run(
        "ansible-playbook", "-i", "localhost,", "-c", "local", "-e", python, str(playbook), cwd=collections
    )


def test_ansible_builder_finds_what_the_controller_needs(collections: Path) -> None:
    told = yaml.safe_load(run("ansible-builder", "introspect", str(collections), cwd=collections))
    assert {entry.split()[0] for entry in told["python"]} == {"pip"}
    assert {entry.split()[0] for entry in told["system"]} == {"openssl", "openssh-client", "openssh-clients"}


def test_the_demo_starts_from_what_is_installed(farm: Path) -> None:
    assert "--site-only" in run(str(farm / "tools" / "demo"), "--help", cwd=farm)


def test_a_release_would_have_a_changelog(tmp_path: Path) -> None:
    for name in ("galaxy.yml", "README.md"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for path in (ROOT / "changelogs").rglob("*.y*ml"):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    run("antsibull-changelog", "release", "--date", "2026-01-01", cwd=tmp_path)
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    assert f"v{version}\n" in (tmp_path / "CHANGELOG.rst").read_text()
