# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: recipe_fault
short_description: What is wrong with the content of an image's recipe
version_added: 0.1.0
author:
  - The wnodes.farm contributors (@wnodes)
description:
  - Names the first key of a recipe that has a wrong value, the value, and how it is written.
options:
  _input:
    description: Content of the recipe's file; see entry point P(wnodes.farm.images#role) C(recipe).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Refuse a wrong recipe
  ansible.builtin.assert:
    that: recipe | wnodes.farm.recipe_fault == ''
"""

RETURN = r"""
_value:
  description: One line; empty where nothing is wrong.
  type: str
"""

from typing import Any, Callable, Dict

from ansible_collections.wnodes.farm.plugins.module_utils.image.recipe.recipefile import check_recipe
from ansible_collections.wnodes.farm.plugins.module_utils.model.errors import WnodesError


def _plain(value: Any) -> Any:
    """Return ``value`` without what Ansible adds to its types."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def recipe_fault(recipe: Any) -> str:
    """Return what is wrong with a recipe, in one line; empty where nothing is."""
    try:
        check_recipe(_plain(recipe))
    except WnodesError as error:
        return " ".join(str(error).split())
    return ""


class FilterModule:
    """The filters of this file."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        """Return name → filter."""
        return {"recipe_fault": recipe_fault}
