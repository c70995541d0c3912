# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets what: the last rule that matches and names a value decides it, alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wnodes.bait.rules import AllowRule, ImageRule, Match, RangeRule, Rule, Rules, Submitter, Values
from wnodes.model.errors import RequestError

ALICE = Submitter("alice", ("physics", "staff"), "main")


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        (Match(), True),
        (Match(users=("al*",)), True),
        (Match(users=("al",)), False),
        (Match(groups=("phys*",)), True),
        (Match(groups=("chem", "staff")), True),
        (Match(users=("alice",), groups=("chem",)), False),
        (Match(partitions=("m[ab]in",)), True),
        (Match(users=("*",), partitions=("MAIN",)), False),
        (Match(groups=()), False),
    ],
)
def test_all_that_is_named_must_match_as_a_shell_pattern(match: Match, fits: bool) -> None:
    assert match.fits(ALICE) is fits


def test_who_is_in_no_group_is_meant_by_no_rule_about_groups() -> None:
    assert not Match(groups=("*",)).fits(Submitter("alice", (), "main"))


NAMES = st.sampled_from(["alice", "bob", "al*", "*", "b[ob]b", "main"])
PATTERNS = st.none() | st.lists(NAMES, min_size=1, max_size=2).map(tuple)
MATCHES = st.builds(Match, PATTERNS, PATTERNS, PATTERNS)
RANGES = st.none() | st.builds(
    RangeRule,
    min=st.none() | st.integers(0, 50),
    max=st.none() | st.integers(50, 100),
    where=st.text("abc", max_size=3),
)
IMAGES = st.none() | st.builds(ImageRule, st.sampled_from(["", "a_b_c"]))
ALLOWED = st.none() | st.builds(AllowRule, st.just(("/home",)))
RULES = st.lists(
    st.builds(Rule, MATCHES, st.builds(Values, IMAGES, ALLOWED, RANGES, RANGES, RANGES, ALLOWED)), max_size=5
).map(lambda rules: Rules(tuple(rules)))
PEOPLE = st.builds(
    Submitter,
    st.sampled_from(["alice", "bob", "eve"]),
    st.lists(st.sampled_from(["alice", "bob"]), max_size=2).map(tuple),
    st.sampled_from(["main", "alice"]),
)


@given(RULES, PEOPLE)
def test_the_last_rule_that_matches_and_names_a_value_decides_it(rules: Rules, who: Submitter) -> None:
    decided = rules.decide(who)
    for name in ("image", "images", "cpus", "memory", "scratch", "mounts"):
        named = [getattr(rule.values, name) for rule in rules.rules if rule.match.fits(who)]
        assert getattr(decided, name) is next((value for value in reversed(named) if value is not None), None)


@given(MATCHES, MATCHES, PEOPLE)
def test_what_covers_another_fits_all_whom_that_fits(wide: Match, narrow: Match, who: Submitter) -> None:
    if wide.covers(narrow) and narrow.fits(who):
        assert wide.fits(who)


@given(st.integers(0, 50), st.integers(50, 100), st.integers(0, 200))
def test_what_is_granted_is_within_the_limits_or_refused(least: int, most: int, asked: int) -> None:
    limits = RangeRule(min=least, max=most, where="r:1")
    if asked > most:
        with pytest.raises(
            RequestError, match=rf"memory \({asked} MiB\): is more than .* \({most} MiB, r:1\); ask for at"
        ):
            limits.granted("memory", asked)
    else:
        assert limits.granted("memory", asked) == max(least, asked)


def test_too_little_of_what_the_batch_system_gives_is_refused_since_it_can_not_be_raised() -> None:
    with pytest.raises(RequestError, match=r"cpus \(1\): is less than the rule allows \(2, r:1\); ask for at least 2"):
        RangeRule(min=2, unit="", fixed=True, where="r:1").granted("cpus", 1)


@pytest.mark.parametrize(
    ("limits", "gets"), [(RangeRule(), 70), (RangeRule(default=5), 5), (RangeRule(default=0), 0), (RangeRule(max=9), 9)]
)
def test_a_job_that_asks_for_none_gets_the_rule_s_default_or_the_usual_within_its_limit(
    limits: RangeRule, gets: int
) -> None:
    assert limits.otherwise(70) == gets


def test_an_image_that_is_not_allowed_is_refused_with_those_that_are() -> None:
    values = Values(images=AllowRule(("worker_*",), "r:3"))
    assert values.granted_image("worker_debian12_x86_64", ALICE) == "worker_debian12_x86_64"
    with pytest.raises(
        RequestError, match=r"image \(gpu_a_b\): is not for alice in partition main \(r:3\); .*worker_\*"
    ):
        values.granted_image("gpu_a_b", ALICE)
    with pytest.raises(RequestError, match="ask for no image"):
        Values(images=AllowRule(())).granted_image("gpu_a_b", ALICE)


def test_what_a_job_gets_without_asking_it_may_ask_for() -> None:
    assert Values(ImageRule("gpu_a_b"), AllowRule(())).granted_image("gpu_a_b", ALICE) == "gpu_a_b"
