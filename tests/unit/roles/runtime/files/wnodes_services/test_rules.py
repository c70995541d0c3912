# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file of rules is read with its lines; module_utils/bait/test_rulesfile.py says what can be in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from wnodes.bait.rulesfile import BrokenRules
from wnodes.model.errors import ConfigError
from wnodes_services.rules import load_rules, parse


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- cpus:\n  max: [", "^r:2: rules: is not YAML: "),
        ("- a\n\t- b", "^r:2: rules: is not YAML: "),
        ("- a\x00", "^r:1: rules: is not YAML: "),
        ("--- 1\n--- 2\n", "^r:2: rules: is not YAML: "),
        ("- &a [*a]", "^r:1: rules: is nested too deeply"),
        ("[" * 12 + "]" * 12, "^r:1: rules: is nested too deeply"),
    ],
)
def test_what_is_no_yaml_is_said_in_one_line_with_its_place(text: str, said: str) -> None:
    with pytest.raises(BrokenRules, match=said) as caught:
        parse(text, "r")
    assert "\n" not in str(caught.value)


def test_a_file_is_read_and_named_in_what_is_wrong_with_it(tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text("- cpus: {max: 2}\n")
    (rule,) = load_rules(str(file)).rules
    assert rule.values.cpus is not None
    assert rule.values.cpus.where == f"{file}:1"
    file.write_bytes(b"- \xff")
    for path in (file, tmp_path / "none"):
        with pytest.raises(ConfigError, match=path.name):
            load_rules(str(path))
