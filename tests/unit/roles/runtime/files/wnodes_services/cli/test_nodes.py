# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many nodes at once: one that hangs, fails or talks nonsense costs its deadline and nothing else."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from wnodes.bait.client import BaitClient
from wnodes.hypervisor.client import HypervisorClient
from wnodes.model.errors import AuthError, NotFoundError, UnavailableError
from wnodes_services.cli import nodes, site


def targets(*hosts: str) -> list[nodes.NodeService]:
    return [("bait", host) for host in hosts]


def test_each_node_has_its_outcome_in_order_and_is_told_when_it_is_there() -> None:
    def call(target: nodes.NodeService) -> str:
        if target[1] == "hv2":
            raise UnavailableError(object="bait of hv2", reason="does not answer")
        if target[1] == "hv3":
            raise KeyError("drain")
        return target[1]

    told: list[nodes.CallOutcome] = []
    outcomes = nodes.each(targets("hv1", "hv2", "hv3", "hv4"), call, 5.0, told.append)
    assert [outcome.answer for outcome in outcomes] == ["hv1", None, None, "hv4"]
    assert "gave an unusable answer: KeyError('drain')" in str(outcomes[2].error)
    assert {outcome.host for outcome in told} == {"hv1", "hv2", "hv3", "hv4"}
    assert nodes.exit_code(outcomes) == 3


def test_a_node_that_hangs_does_not_keep_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "GRACE_S", 0.05)
    forever = threading.Event()

    def call(target: nodes.NodeService) -> Any:
        return {} if target[1] == "hv1" else forever.wait(60.0)

    told: list[nodes.CallOutcome] = []
    outcomes = nodes.each(targets("hv1", "hv2"), call, 0.05, told.append)
    forever.set()
    assert (outcomes[0].error, len(told)) == (None, 2)
    assert "bait of hv2: did not answer within 0.05 s" in str(outcomes[1].error)


def test_no_more_than_a_bounded_number_of_nodes_is_called_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "WORKERS", 2)
    called: set[str] = set()
    outcomes = nodes.each(
        targets(*map(str, range(9))), lambda target: called.add(threading.current_thread().name), 5.0, lambda _one: None
    )
    assert len(outcomes) == 9
    assert len(called) <= 2


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ((None, None), 0),
        ((None, NotFoundError(object="VM", reason="is gone")), 1),
        ((UnavailableError(object="bait", reason="is down"), NotFoundError(object="VM", reason="is gone")), 3),
    ],
)
def test_the_worst_outcome_is_the_exit_code(errors: tuple[Any, ...], code: int) -> None:
    assert nodes.exit_code([nodes.CallOutcome(("bait", "hv1"), None, error) for error in errors]) == code


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_who_is_not_root_is_told_so_before_any_key_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(AuthError, match="only root may call it"):
        nodes.client(view("site", manage="hv1:8445"), ("bait", "hv1"), 7.0)


def view(scope: str, **detail: str) -> site.SiteView:
    services = tuple(site.Service(role, "hv1", site.OK, (), 0.0, detail) for role in site.NODE_ROLES)
    return site.SiteView(scope, 0.0, services, (), ())


def test_other_nodes_are_called_where_their_heartbeats_say(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    for kind in (BaitClient, HypervisorClient):
        monkeypatch.setattr(kind, "of_node", lambda *where: called.append(where))
    seen = view("site", manage="hv1.example.org:8445")
    for role in site.NODE_ROLES:
        nodes.client(seen, (role, "hv1"), 7.0)
    assert called == [("hv1", ("hv1.example.org", 8445), "/etc/wnodes/pki", 7.0)] * 2


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (view("site"), "not open to managers; the nodes' runtime_manage_address"),
        (view("site", manage="hv1:http"), "not open to managers"),
        (site.SiteView("site", 0.0, (), (), ()), "was never heard of"),
    ],
)
def test_a_node_without_a_way_to_it_says_why(seen: site.SiteView, said: str) -> None:
    with pytest.raises(UnavailableError, match=said):
        nodes.client(seen, ("bait", "hv1"), 7.0)


def test_on_the_node_itself_its_sockets_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaitClient, "local", lambda path, limit_s: (path, limit_s))
    assert nodes.client(view("node"), ("bait", "hv1"), 7.0) == ("/run/wnodes/bait.sock", 7.0)
