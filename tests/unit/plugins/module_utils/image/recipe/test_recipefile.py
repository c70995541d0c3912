# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A wrong recipe is told in one line, before anything is begun: which key, which value, how it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from wnodes.image.recipe.recipefile import KEYS, SHAPES, check_recipe
from wnodes.model.errors import WnodesError

ROLE = Path(__file__).parents[6] / "roles" / "images"
LEAST: dict[str, Any] = {"tags": ["a_debian12_x86_64"], "base": {"suite": "bookworm"}, "worker": {"lrms": "slurm"}}


def fault(**more: Any) -> str:
    """Return what is wrong with a good recipe that got other keys (None: taken away)."""
    data = {key: value for key, value in {**LEAST, **more}.items() if value is not None}
    with pytest.raises(WnodesError) as caught:
        check_recipe(data)
    return str(caught.value)


@pytest.mark.parametrize("path", sorted((ROLE / "files/recipes").glob("*.yml")), ids=lambda path: path.stem)
def test_recipes_that_ship_are_right(path: Path) -> None:
    recipe = yaml.safe_load(path.read_text())
    check_recipe(recipe)
    assert recipe["tags"] == [f"{path.stem}_x86_64"]


def test_the_keys_are_those_that_the_role_documents() -> None:
    specs = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]
    assert set(specs["recipe"]["options"]["images_recipe"]["options"]) == set(KEYS) == set(SHAPES)


@pytest.mark.parametrize("key", SHAPES)
def test_what_is_given_as_an_example_is_right(key: str) -> None:
    for text in SHAPES[key].split(f" or {key}: "):
        check_recipe({**LEAST, "network": True, key: yaml.safe_load(text)})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "kernel_modules",
            ["dummy"],
            "recipe: kernel_modules (['dummy']): must be a mapping; for example kernel_modules:",
        ),
        ("ssh_keys", {"root": "ssh-rsa A"}, "must be a list; for example ssh_keys: [{user: root"),
        ("remote_syslog", "logs:514", "('logs:514'): must be a mapping; for example remote_syslog: {host:"),
        ("units", ["a.service"], "must be a mapping; for example units: {enable:"),
        ("scripts", ["#!/bin/sh"], "scripts[0] ('#!/bin/sh'): must be a mapping"),
        ("packages", "chrony", "('chrony'): must be a list; for example packages: [chrony"),
        ("files", [{"path": "/a", "content": "", "mode": 420}], "files[0].mode (420): must be a text"),
        ("files", [{"path": "/a", "content": "", "template": "a.j2"}], "one of content, source and template"),
        ("files", "/etc/motd", "must be a list"),
        ("tags", ["Y_Debian"], "image tag ('Y_Debian'): is not of the form"),
        ("tags", [], "must name at least one tag; for example tags: [worker_debian12"),
        ("base", {"suite": "bookworm", "image": "/a"}, "base: must have either suite or image"),
        ("base", {"image": "https://example.org/a.qcow2"}, "needs a checksum"),
        ("base", {"image": "/a", "format": "vmdk"}, "base: format ('vmdk'): must be one of qcow2, raw"),
        ("worker", {"lrms": "condor"}, "worker: lrms ('condor'): must be one of slurm"),
        ("kernel_module", {}, "kernel_module: is no key of a recipe; known keys: tags, base"),
        ("upgrade", True, "upgrade (True): must be given with network: true"),
        ("delete", ["etc/motd"], "delete ('etc/motd'): is not a path inside the image"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_expected(key: str, value: Any, said: str) -> None:
    text = fault(**{key: value})
    assert said in text
    assert "\n" not in text
    assert len(text) < 500


@pytest.mark.parametrize("key", ["tags", "base"])
def test_what_every_recipe_needs_is_missed(key: str) -> None:
    assert fault(**{key: None}).startswith(f"{key}: is missing; for example {key}:")


def test_a_system_that_could_not_boot_is_refused_and_one_with_a_kernel_of_its_own_is_not() -> None:
    assert "without a kernel, which can't boot; add `worker: {lrms: slurm}`" in fault(worker=None)
    good = {key: value for key, value in LEAST.items() if key != "worker"}
    check_recipe({**good, "packages": ["linux-image-amd64", "systemd-sysv"]})


def test_a_base_that_is_there_is_upgraded_over_the_network_as_the_role_has_it() -> None:
    check_recipe({**LEAST, "base": {"image": "/srv/a.qcow2"}, "upgrade": True})
