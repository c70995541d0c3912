# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module is put through: create, change, delete × check mode × repeated, with diff; and its RETURN."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

Answer = dict[str, Any]
#: options in, answer out; ``check`` is check mode
Call = Callable[..., Answer]

#: what Ansible itself makes of an answer, documented by Ansible
COMMON = {"changed", "diff", "failed", "msg", "invocation", "warnings", "deprecations", "exception"}
KINDS: dict[str, type | tuple[type, ...]] = {
    "str": str, "bool": bool, "int": int, "float": (int, float), "dict": dict, "list": list,
}  # fmt: skip


def undocumented(answer: Answer, documented: dict[str, Any], where: str = "") -> list[str]:
    """Return what of an answer the RETURN block does not tell, or tells otherwise."""
    wrong = []
    for key, value in answer.items():
        told = documented.get(key)
        if told is None:
            wrong.append(f"{where}{key} is not documented")
        elif value is not None and not isinstance(value, KINDS[told["type"]]):
            wrong.append(f"{where}{key} is no {told['type']}: {value!r}")
        elif value and "contains" in told:
            for item in value if isinstance(value, list) else [value]:
                wrong += undocumented(item, told["contains"], f"{where}{key}.")
    return wrong


def run(module: ModuleType, capsys: pytest.CaptureFixture[str], *, check: bool = False, **options: Any) -> Answer:
    """Run a module as Ansible would, with diff, and return its answer, which must be as documented."""
    given = {**options, "_ansible_check_mode": check, "_ansible_diff": True}
    with patch_module_args(given), pytest.raises(SystemExit):
        module.main()
    answer: Answer = json.loads(capsys.readouterr().out)
    told = {key: value for key, value in answer.items() if key not in COMMON}
    wrong = undocumented(told, yaml.safe_load(module.RETURN))
    assert not wrong, wrong
    return answer


@dataclass(frozen=True)
class Step:
    """One of create, change, delete.

    :param refused: part of the message, where the module can't do this; nothing is touched then
    :param differs: keys of the answer that check mode can't foretell
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    refused: str = ""
    differs: tuple[str, ...] = ()


def walk(call: Call, world: Callable[[], Any], steps: Iterable[Step]) -> None:
    """Go through the steps, each four times: foretold, done, foretold again and done again.

    :param world: returns what the module acts on, as something that can be compared
    """
    for step in steps:
        before = world()
        foretold = call(check=True, **step.options)
        assert world() == before, f"{step.name}: check mode touched something"
        if step.refused:
            for answer in (foretold, call(**step.options), call(check=True, **step.options), call(**step.options)):
                assert step.refused in answer["msg"], step.name
                assert world() == before, f"{step.name}: was refused and touched something"
            continue
        assert foretold["changed"], f"{step.name}: nothing to do"
        assert shown(foretold["diff"]), f"{step.name}: no diff"

        done = call(**step.options)
        assert not done.get("failed"), f"{step.name}: {done}"
        alike = set(done) - {"invocation", *step.differs}
        assert {key: done[key] for key in alike} == {key: foretold.get(key) for key in alike}, step.name
        after = world()
        assert after != before, f"{step.name}: nothing was done"

        for check in (True, False):
            again = call(check=check, **step.options)
            assert not again["changed"], f"{step.name}: changed again"
            assert not shown(again["diff"]), f"{step.name}: a diff of nothing"
            assert world() == after, f"{step.name}: touched again"


def shown(diff: Any) -> list[Any]:
    """Return the parts of a diff in which something differs."""
    return [part for part in (diff if isinstance(diff, list) else [diff]) if part["before"] != part["after"]]


def only_reads(call: Call, world: Callable[[], Any], options: Iterable[dict[str, Any]]) -> None:
    """Let an info module read with each of ``options``: in check mode or not and repeated, it says the same."""
    before = world()
    for given in options:
        answers = [call(check=check, **given) for check in (True, False, True, False)]
        assert all(answer == answers[0] for answer in answers), given
        assert not answers[0]["changed"]
    assert world() == before
