# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipe, specification and documentation say the same."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args, get_type_hints

import pytest
import yaml

from ansible_collections.wnodes.farm.plugins.doc_fragments.recipe import ModuleDocFragment
from wnodes.image.recipe import operations
from wnodes.image.recipe.operations import Recipe
from wnodes.image.recipe.spec import RECIPE_SPEC

DOCUMENTED: dict[str, Any] = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]


def nested(field: dataclasses.Field[Any]) -> Any:
    """Return the dataclass a field holds or lists, or None."""
    hint = get_type_hints(Recipe, vars(operations))[field.name]
    return next((kind for kind in (hint, *get_args(hint)) if dataclasses.is_dataclass(kind)), None)


def test_each_field_of_a_recipe_is_an_option_and_documented() -> None:
    assert {field.name for field in dataclasses.fields(Recipe)} == set(RECIPE_SPEC) == set(DOCUMENTED)


@pytest.mark.parametrize("field", dataclasses.fields(Recipe), ids=lambda field: field.name)
def test_parts_types_and_defaults_agree(field: dataclasses.Field[Any]) -> None:
    pairs = [(RECIPE_SPEC[field.name], DOCUMENTED[field.name])]
    kind = nested(field)
    if kind is not None:
        parts, told = RECIPE_SPEC[field.name]["options"], DOCUMENTED[field.name]["suboptions"]
        assert {part.name for part in dataclasses.fields(kind)} == set(parts) == set(told)
        pairs += [(parts[name], told[name]) for name in parts]
    for spec, told in pairs:
        assert told["description"]
        assert spec.get("type", "str") == told["type"]
        for key in ("default", "required", "elements", "choices"):
            assert spec.get(key) == told.get(key), key
