# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``wnodes drain`` and ``undrain``: what nodes are told, what people are told, and how it ends."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from tests.unit.roles.runtime.files.wnodes_services.cli.conftest import ODD, WELL, Cli
from wnodes.bait.client import BaitClient
from wnodes.bait.drain import DrainWish
from wnodes.model.errors import UnavailableError
from wnodes_services.cli import drain, nodes, show, site

LEFT = {"since": 990.0, "reason": "disk", "jobs": 2, "vms": 0, "empty": False, "late": False}
EMPTY = {**LEFT, "jobs": 0, "empty": True}
#: of an order that was given and lifted before this one
BEFORE = {**EMPTY, "since": 900.0, "reason": "of yesterday"}


class Bait(BaitClient):
    def __init__(self) -> None:
        self.wishes: list[DrainWish | None] = []
        self.problems: list[str] = []
        self.down = False
        #: what it tells who asks it itself
        self.now: list[dict[str, Any] | None] = []

    def _told(self, wish: DrainWish | None) -> dict[str, Any]:
        if self.down:
            raise UnavailableError(object="bait of hv2", reason="does not answer")
        self.wishes.append(wish)
        return {"changed": len(self.wishes) == 1, "drain": LEFT if wish else None, "problems": self.problems}

    def drain(self, wish: DrainWish) -> dict[str, Any]:
        return self._told(wish)

    def undrain(self) -> dict[str, Any]:
        return self._told(None)

    def status(self) -> dict[str, Any]:
        return {"drain": self.now.pop(0)}


@pytest.fixture
def baits(wnodes: Cli, monkeypatch: pytest.MonkeyPatch) -> dict[str, Bait]:
    made = {"hv1": Bait(), "hv2": Bait()}
    wnodes.see(WELL, replace(WELL, host="hv2"), replace(ODD, role="nameserver", host="head"))
    monkeypatch.setattr(nodes, "client", lambda view, target, limit_s: made[target[1]])
    return made


def test_a_drain_is_told_to_the_hosts_meant_and_shown(wnodes: Cli, baits: dict[str, Bait]) -> None:
    code, out, err = wnodes("drain", "hv1", "--reason", "disk", "--deadline", "2h", "--then", "requeue")
    assert (code, out, err) == (0, "hv1: drained (2 jobs, 0 waiting VMs left): disk\n", "")
    assert (baits["hv1"].wishes, baits["hv2"].wishes) == ([DrainWish("disk", 7200.0, "requeue")], [])
    assert "(unchanged)" in wnodes("drain", "hv1", "--reason", "disk")[1]


def test_undrain_opens(wnodes: Cli, baits: dict[str, Bait]) -> None:
    baits["hv2"].problems = ["lrms: does not answer"]
    code, out, err = wnodes("undrain", "hv[1-2]")
    assert (code, sorted(out.splitlines())) == (0, ["hv1: takes jobs", "hv2: takes jobs"])
    assert "hv2: lrms: does not answer" in err


def test_one_that_is_not_reached_is_told_and_is_the_exit_code(wnodes: Cli, baits: dict[str, Bait]) -> None:
    baits["hv2"].down = True
    code, out, err = wnodes("drain", "hv*", "--reason", "disk")
    assert (code, "hv1: drained" in out, "hv2: bait of hv2: does not answer" in err) == (3, True, True)
    code, out, _err = wnodes("drain", "hv*", "--reason", "disk", "--json")
    first, second = json.loads(out)
    assert (code, first["ok"], first["drain"], second["ok"]) == (3, True, LEFT, False)
    assert second["error"]["reason"] == "does not answer"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--reason", ""), "--reason (''): must be a line of 1"),
        (("--reason", "x", "--deadline", "soon"), "--deadline (soon): is not a time"),
        (("--reason", "x", "--deadline", "0"), "--deadline (0.0): must be more than 0"),
        (("--reason", "x", "--then", "requeue"), "--then (requeue): needs a deadline"),
        (("--reason", "x", "--wait-limit", "later"), "--wait-limit (later): is not a time"),
    ],
)
def test_what_is_wrong_is_named_as_it_was_typed(
    wnodes: Cli, baits: dict[str, Bait], arguments: tuple[str, ...], said: str
) -> None:
    code, _out, err = wnodes("drain", "hv1", *arguments)
    assert (code, err.startswith(f"wnodes: {said}")) == (2, True), err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--reason", "disk"), 2),
        (("hv1",), 2),
        (("hv1", "--reason", ""), 2),
        (("hv1", "--reason", "disk", "--then", "requeue"), 2),
        (("hv1", "--reason", "disk", "--deadline", "soon"), 2),
        (("hv9", "--reason", "disk"), 1),
        (("head", "--reason", "disk"), 1),
    ],
)
def test_what_makes_no_sense_is_told_to_no_node(
    wnodes: Cli, baits: dict[str, Bait], arguments: tuple[str, ...], code: int
) -> None:
    assert wnodes("drain", *arguments)[0] == code
    assert [bait.wishes for bait in baits.values()] == [[], []]


class Time:
    """Stands for the module; each pause shows the next of the views."""

    def __init__(self, wnodes: Cli, *views: tuple[site.Service, ...]) -> None:
        self.now, self._wnodes, self._views = 0.0, wnodes, list(views)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self._views:
            self._wnodes.see(*self._views.pop(0))


def bait(drained: dict[str, Any] | None, state: str = site.OK) -> site.Service:
    return replace(WELL, state=state, problems=("silent",), detail={"drain": drained})


@pytest.fixture
def passing(wnodes: Cli, baits: dict[str, Bait], monkeypatch: pytest.MonkeyPatch) -> Any:
    def passes(*views: tuple[site.Service, ...]) -> Time:
        made = Time(wnodes, *views[1:])
        wnodes.see(*views[0])
        monkeypatch.setattr(drain, "time", made)
        return made

    return passes


def test_wait_returns_when_the_nodes_are_empty_and_tells_each_change_once(wnodes: Cli, passing: Any) -> None:
    one = {**LEFT, "jobs": 1}
    passing((bait(LEFT),), (bait(LEFT),), (bait(one),), (bait(EMPTY),))
    code, out, _err = wnodes("drain", "hv1", "--reason", "disk", "--wait")
    said = [show.drained(state) for state in (LEFT, LEFT, one, EMPTY)]
    assert (code, out.splitlines()) == (0, [f"hv1: {text}" for text in said])


def test_wait_gives_up_at_its_limit_with_1(wnodes: Cli, passing: Any) -> None:
    clock = passing((bait(LEFT),))
    code, _out, err = wnodes("drain", "hv1", "--reason", "disk", "--wait", "--wait-limit", "5s")
    assert (code, clock.now) == (1, 5.0)
    assert "hv1: not empty after 5 s" in err


def test_wait_ends_after_the_deadline_by_itself(wnodes: Cli, passing: Any) -> None:
    clock = passing((bait(LEFT),))
    assert wnodes("drain", "hv1", "--reason", "disk", "--deadline", "1m", "--wait")[0] == 1
    assert clock.now == 60.0 + drain.AFTER_S


@pytest.mark.parametrize("older", [None, BEFORE])
def test_what_an_older_heartbeat_says_is_not_taken_for_an_answer_to_the_order(
    wnodes: Cli, baits: dict[str, Bait], passing: Any, older: dict[str, Any] | None
) -> None:
    passing((bait(older),), (bait(older),), (bait(EMPTY),))
    baits["hv1"].now = [LEFT, LEFT]
    code, out, err = wnodes("drain", "hv1", "--reason", "disk", "--wait")
    said = [show.drained(state) for state in (LEFT, LEFT, EMPTY)]
    assert (code, out.splitlines(), err) == (0, [f"hv1: {text}" for text in said], "")


def test_an_empty_node_is_told_to_be_empty_at_once(wnodes: Cli, baits: dict[str, Bait], passing: Any) -> None:
    clock = passing((bait(None),))
    baits["hv1"].now = [EMPTY]
    code, out, _err = wnodes("drain", "hv1", "--reason", "disk", "--wait")
    assert (code, out.splitlines()[-1], clock.now) == (0, f"hv1: {show.drained(EMPTY)}", 0.0)


def test_a_drain_that_somebody_lifts_is_waited_for_no_longer(wnodes: Cli, baits: dict[str, Bait], passing: Any) -> None:
    clock = passing((bait(LEFT),), (bait(None),))
    baits["hv1"].now = [None]
    code, _out, err = wnodes("drain", "hv1", "--reason", "disk", "--wait")
    assert (code, clock.now, err) == (1, 1.0, "wnodes: hv1: somebody has lifted its drain\n")


@pytest.mark.parametrize("last", [bait(LEFT, site.DOWN), ODD])
def test_a_node_of_which_nothing_is_known_is_not_called_empty(wnodes: Cli, passing: Any, last: site.Service) -> None:
    passing((bait(LEFT),), (last,))
    assert wnodes("drain", "hv1", "--reason", "disk", "--wait", "--wait-limit", "5s")[0] == 3


def test_json_is_one_document_at_the_end(wnodes: Cli, passing: Any) -> None:
    passing((bait(LEFT),), (bait(EMPTY),))
    (told,) = json.loads(wnodes("drain", "hv1", "--reason", "disk", "--wait", "--json")[1])
    assert told["drain"] == EMPTY


def test_on_a_terminal_the_progress_is_drawn_in_place_and_goes(
    wnodes: Cli, passing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(show, "console", lambda: Console(file=screen, force_terminal=True, width=100))
    passing((bait(LEFT),), (bait(EMPTY),))
    code, out, _err = wnodes("drain", "hv1", "--reason", "disk", "--wait")
    assert (code, out) == (0, f"hv1: {show.drained(LEFT)}\n")
    drawn = screen.getvalue()
    assert show.drained(LEFT) in drawn
    assert show.drained(EMPTY) in drawn
    assert "\x1b[2K" in drawn
