# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left for the hook says the same as the rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.unit.plugins.module_utils.bait.test_rules import PEOPLE, RULES
from wnodes.bait import statics
from wnodes.bait.rules import Rules, Submitter
from wnodes.hook import statics as hook
from wnodes_services.rules import parse


@given(RULES, PEOPLE)
@settings(deadline=None)
def test_who_gets_an_image_by_a_rule_is_held_back_by_the_hook_too(rules: Rules, who: Submitter) -> None:
    left = json.loads(json.dumps(statics.statics(rules, ("wnhold",))))
    image = rules.decide(who).image
    held_back = hook._virtual(left["rules"], who.user, who.partition)
    if image is not None and image.tag:
        assert held_back
    elif not any(rule.match.groups for rule in rules.rules):
        assert not held_back


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    monkeypatch.setattr(hook, "PATH", str(tmp_path / statics.FILE))
    return lambda rules: statics.leave(str(tmp_path), parse(rules, "r"), ("wnhold", "wnoffer"))


RULE = "- match: {users: [alice], partitions: [main]}\n  image: {default: a_b_c}\n"


def test_what_the_bait_leaves_is_what_the_hook_reads(left: Callable[[str], None]) -> None:
    left(RULE)
    assert hook.chosen("alice", "main")
    assert not hook.chosen("bob", "main")
    assert not hook.chosen("alice", "long")
    left("")
    assert not hook.chosen("alice", "main")


def test_our_own_jobs_are_nobody_s(left: Callable[[str], None]) -> None:
    left("- image: {default: a_b_c}\n")
    assert hook.chosen("root", "main")
    assert not hook.chosen("root", "wnhold")


def test_a_later_exception_holds_without_a_bait_too(left: Callable[[str], None]) -> None:
    left("- image: {default: a_b_c}\n- match: {users: [bob]}\n  image: {default: none}\n")
    assert hook.chosen("alice", "main")
    assert not hook.chosen("bob", "main")
