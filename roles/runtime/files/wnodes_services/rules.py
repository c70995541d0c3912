# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of site rules: YAML with its lines."""

from __future__ import annotations

from pathlib import Path

import yaml

from wnodes.bait.rules import Rules
from wnodes.bait.rulesfile import BrokenRules, Item, read_rules
from wnodes.model.errors import ConfigError

#: how deep a file may be nested; rules need five
DEEPEST = 10


def load_rules(path: str, name: str = "") -> Rules:
    """Return the rules in the file at ``path``.

    :param name: what errors call it, if not by its path
    :raises ConfigError: it can't be read, or BrokenRules with all that is wrong
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = "role bait puts it on the nodes" if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(object=path, reason=reason, hint=hint) from None
    return parse(text, name or path)


def parse(text: str, path: str) -> Rules:
    """Return the rules in ``text``, a YAML document.

    :param path: what errors call it
    :raises BrokenRules: with all that is wrong
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return read_rules(path, Item(1) if node is None else _item(node, path))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        reason = f"is not YAML: {error.problem or error.context}"
        raise BrokenRules(path, [ConfigError(object=f"{path}:{line}: rules", reason=reason)]) from None
    except yaml.YAMLError as error:
        reason = "is not YAML: " + " ".join(str(error).split())
        raise BrokenRules(path, [ConfigError(object=f"{path}:1: rules", reason=reason)]) from None


def _item(node: yaml.Node, path: str, depth: int = 0) -> Item:
    line = node.start_mark.line + 1
    if depth > DEEPEST:
        raise BrokenRules(path, [ConfigError(object=f"{path}:{line}: rules", reason="is nested too deeply")])
    if isinstance(node, yaml.SequenceNode):
        return Item(line, items=tuple(_item(value, path, depth + 1) for value in node.value))
    if isinstance(node, yaml.MappingNode):
        pairs = ((_item(key, path, depth + 1), _item(value, path, depth + 1)) for key, value in node.value)
        return Item(line, entries=tuple(pairs))
    return Item(line, None if node.tag == "tag:yaml.org,2002:null" else str(node.value))
