# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file of rules is right as a whole, or all that is wrong is said at once, each with its line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wnodes.bait.rules import AllowRule, ImageRule, Match, RangeRule, Rules
from wnodes.bait.rulesfile import BrokenRules, check_node
from wnodes_services.rules import parse

GOOD = """# everybody
- memory: {max: 4G}
- match:
    groups: [atlas*]
    partitions: [main]
  image:
    default: worker_debian12_x86_64
    allowed: [worker_*]
  scratch: {default: 1G, min: 512, max: 2G}
  cpus: {min: 1, max: 8}
  mounts: [/home]
- match: {users: [no, 007]}
  image: {default: none}
"""


def test_a_good_file() -> None:
    rules = parse(GOOD, "r").rules
    assert [rule.match for rule in rules] == [
        Match(), Match(groups=("atlas*",), partitions=("main",)), Match(users=("no", "007")),
    ]  # fmt: skip
    values = rules[1].values
    assert values.image == ImageRule("worker_debian12_x86_64")
    assert values.images == AllowRule(("worker_*",))
    assert values.scratch == RangeRule(1024, 512, 2048)
    assert values.cpus == RangeRule(min=1, max=8, unit="", fixed=True)
    assert values.mounts == AllowRule(("/home",))
    assert [value.where for value in values.named().values()] == ["r:7", "r:8", "r:10", "r:9", "r:11"]
    assert rules[2].values.image == ImageRule("")


@pytest.mark.parametrize("text", ["", "# nothing\n", "[]"])
def test_a_file_without_rules_has_none(text: str) -> None:
    assert parse(text, "r") == Rules()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("memory: {max: 1G}", "r:1: rules"),
        ("- 7", "r:1: rule ('7'): must be a mapping"),
        ("- memory: {max: 1G}\n  nmae: 1", "r:2: rule ('nmae'): unknown key; known keys: match, image,"),
        ("- cpus: {max: 1}\n  cpus: {max: 2}", "r:2: rule ('cpus'): is there twice"),
        (
            "- match: {users: [a]}",
            "r:1: rule ({'match': {'users': ['a']}}): names no value; name at least one of image",
        ),
        ("- match: {users: a}\n  cpus: {}", "r:1: match.users ('a'): must be a list of shell patterns"),
        ("- match: {users: []}\n  cpus: {}", "r:1: match.users ([]): matches nobody; leave it out for everybody"),
        ("- match: {users: ['a b']}\n  cpus: {}", "r:1: match.users ('a b'): can match nothing"),
        ("- match: {users: [null]}\n  cpus: {}", "r:1: match.users (null): can match nothing"),
        ("- match: {groups: ['a[b']}\n  cpus: {}", "r:1: match.groups ('a[b'): is not a shell pattern"),
        ("- image: {default: Worker}", "r:1: image.default ('Worker'): is not of the form <name>_<os>_<arch>; for"),
        ("- image:\n    allowed: [worker]", "r:2: image.allowed ('worker'): is not of the form"),
        ("- image: {allowed: ['W*']}", "r:1: image.allowed ('W*'): can match nothing"),
        ("- image: {}", "r:1: image ({}): names neither a default nor what is allowed"),
        ("- memory: {max: lots}", "r:1: memory.max ('lots'): is not a size; for example 2G"),
        ("- memory:\n    min: 2G\n    max: 1G", "r:2: memory.min ('2G'): is more than memory.max (1024 MiB)"),
        ("- scratch:\n    max: 1\n    default: 2", "r:3: scratch.default ('2'): is outside of scratch.min and"),
        ("- scratch:\n    min: 3\n    default: 2", "r:3: scratch.default ('2'): is outside of scratch.min and"),
        ("- memory: {default: 1G}", "r:1: memory.default ('1G'): has no effect: the batch system"),
        ("- cpus: {default: 2}", "r:1: cpus.default ('2'): has no effect: the batch system"),
        ("- cpus: {min: 0}", "r:1: cpus.min ('0'): must be a whole number, 1 or more"),
        ("- cpus: {max: [2]}", "r:1: cpus.max (['2']): must be a whole number"),
        ("- mounts: [home]", "r:1: mounts ('home'): can match nothing"),
        (
            "- match: {users: [a]}\n  cpus: {max: 1}\n- cpus: {max: 2}",
            "r:2: cpus: never decides: the rule at r:3 comes",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(BrokenRules) as caught:
        parse(text, "r")
    assert [str(problem) for problem in caught.value.problems if str(problem).startswith(said)], str(caught.value)


def test_everything_that_is_wrong_is_said_at_once_in_the_order_of_the_file() -> None:
    with pytest.raises(BrokenRules) as caught:
        parse("- cpus: {max: x}\n- memory: {max: y}\n  match: {users: []}\n- nmae: 1\n", "/etc/rules.yml")
    assert [line.split(" ")[0] for line in str(caught.value).splitlines()] == [
        "/etc/rules.yml:1:", "/etc/rules.yml:2:", "/etc/rules.yml:3:", "/etc/rules.yml:4:",
    ]  # fmt: skip


SCALARS = st.none() | st.sampled_from(["x", "2G", "1", "*", "a_b_c", "/home", "["])
KEYS = st.sampled_from(["match", "users", "image", "default", "allowed", "memory", "min", "max", "cpus", "mounts", "x"])
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))


def problems(text: str) -> list[str]:
    try:
        parse(text, "r")
    except BrokenRules as error:
        return [str(problem) for problem in error.problems]
    return []


@given(st.lists(TREES, max_size=4))
@settings(deadline=None)
def test_whatever_a_file_holds_it_is_read_or_refused_with_lines(tree: object) -> None:
    assert all(said.startswith("r:1: ") for said in problems(repr(tree).replace("None", "null")))


NODE = ["/home", "/data"]


def test_file_systems_that_the_node_does_not_give_are_named_with_their_line() -> None:
    check_node("r", parse("- mounts: [/home, '/d*']", "r"), NODE, False)
    check_node("r", parse("- mounts: [/atlas]", "r"), None, False)
    with pytest.raises(BrokenRules, match=r"^r:2: mounts \('/atlas'\): is none of .*; those are: /home, /data$"):
        check_node("r", parse("- cpus: {max: 1}\n  mounts: [/home, /atlas]", "r"), NODE, False)


@pytest.mark.parametrize(
    "value", ["image: {default: a_b_c}", "mounts: []", "scratch: {min: 1}", "scratch: {default: 1}"]
)
def test_where_vms_are_offered_no_rule_can_change_what_a_job_gets(value: str) -> None:
    rules = parse(f"- {value}", "r")
    check_node("r", rules, NODE, False)
    with pytest.raises(
        BrokenRules, match=r"r:1: .*: can't hold for VMs to which the batch system sends jobs by itself"
    ):
        check_node("r", rules, NODE, True)


def test_where_vms_are_offered_limits_can_hold() -> None:
    limits = "- image: {allowed: [a_b_c]}\n  memory: {max: 2G}\n  scratch: {max: 1G}\n  cpus: {min: 1}\n"
    check_node("r", parse(limits, "r"), NODE, True)
