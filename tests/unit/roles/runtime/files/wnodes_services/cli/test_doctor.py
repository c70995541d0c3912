# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``wnodes doctor``: what it shows, whom it asks, and how it ends."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from tests.unit.roles.runtime.files.wnodes_services.cli.conftest import Cli, Directory
from wnodes.doctor.check import HEAD, NODE, Check, CheckOutcome, Finding
from wnodes.model.codec import encode
from wnodes.model.errors import UnavailableError
from wnodes_services.cli import doctor_report, nodes, site

OK = Finding(CheckOutcome.OK, "[bold]clock[/bold]", "0.1 s ahead", check="clock.difference")
BAD = Finding(
    CheckOutcome.FAILURE, "PrologFlags", "", "prologs run too late", "set PrologFlags=Alloc", "slurm.prolog_flags"
)
ODD = Finding(CheckOutcome.WARNING, "Slurm", "23.11", "was not tried", "try it", "slurm.version")


class Node:
    """The services of a node, as the head reaches them."""

    def __init__(self) -> None:
        self.findings: tuple[Finding, ...] = (OK, ODD)
        self.version, self.silent = "", False
        self.asked: list[tuple[nodes.NodeService, float]] = []

    def client(self, _view: site.SiteView, target: nodes.NodeService, limit_s: float) -> Any:
        node = self

        class Client:
            def doctor(self, extra_s: float) -> dict[str, Any]:
                node.asked.append((target, limit_s + extra_s))
                if node.silent:
                    raise UnavailableError(object=f"{target[0]} of {target[1]}", reason="did not answer within 10 s")
                return {"version": node.version, "findings": encode(node.findings) if target[0] == "bait" else []}

            def close(self) -> None:
                """Nothing is open."""

        return Client()


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What is found on this machine, a node."""
    found = [OK]

    def look(checks: Iterable[Check], begin: Callable[[Check], None]) -> Iterator[Finding]:
        begin(next(iter(checks)))
        return iter(found)

    monkeypatch.setattr(doctor_report.here, "look", look)
    monkeypatch.setattr(doctor_report.here, "roles", lambda: (NODE,))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "head", "", "", "")))
    return found


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, directory: Directory, own: list[Finding]) -> Node:
    """Make this machine the head node of a site with the nodes hv1 and hv2."""
    made = Node()
    services = tuple(site.Service("bait", host, site.OK, (), 1.0, {}) for host in ("hv1", "hv2"))
    monkeypatch.setattr(doctor_report.here, "roles", lambda: (HEAD,))
    monkeypatch.setattr(site, "site_view", lambda directory: site.SiteView("site", 1000.0, services, (), ()))
    monkeypatch.setattr(nodes, "client", made.client)
    return made


def test_a_node_looks_at_itself_and_says_little_when_all_is_well(wnodes: Cli, own: list[Finding]) -> None:
    code, out, _err = wnodes("doctor")
    assert (code, out.strip()) == (0, "head  1 ok")


def test_what_is_wrong_is_shown_first_with_its_cure_and_what_is_well_only_when_asked_for(
    wnodes: Cli, own: list[Finding]
) -> None:
    own += [ODD, BAD]
    code, out, _err = wnodes("doctor")
    assert code == 1
    assert out.index("failure") < out.index("PrologFlags: prologs run too late") < out.index("warning  slurm.version")
    assert "→ set PrologFlags=Alloc" in out
    assert "clock" not in out
    assert "[bold]clock[/bold] (0.1 s ahead)" in wnodes("doctor", "--verbose")[1]


def test_warnings_alone_end_well(wnodes: Cli, own: list[Finding]) -> None:
    own += [ODD]
    assert wnodes("doctor")[0] == 0


def test_the_head_asks_all_nodes_within_their_deadline(wnodes: Cli, node: Node) -> None:
    code, out, _err = wnodes("doctor", "--json", "--timeout", "30")
    hosts = json.loads(out)["hosts"]
    assert code == 0
    assert [host["host"] for host in hosts] == ["head", "hv1", "hv2"]
    assert hosts[1]["counts"] == {"failure": 0, "warning": 1, "skipped": 0, "ok": 1}
    assert hosts[1]["findings"][0] == encode(ODD)
    targets = [(role, host) for host in ("hv1", "hv2") for role in ("bait", "hypervisor")]
    assert sorted(node.asked) == sorted((target, 30.0) for target in targets)


def test_hosts_that_are_named_are_asked_alone(wnodes: Cli, node: Node) -> None:
    for pattern in ("hv2", "hv[2-2]", "*2"):
        assert [host["host"] for host in json.loads(wnodes("doctor", "--json", pattern)[1])["hosts"]] == ["hv2"]
    code, _out, err = wnodes("doctor", "hv9")
    assert code == 1
    assert "host hv9: there is no such host here; known hosts: head, hv1, hv2" in err


def test_a_node_that_can_not_be_asked_is_told_apart_from_one_that_is_ill(wnodes: Cli, node: Node) -> None:
    node.silent = True
    code, out, _err = wnodes("doctor", "hv1")
    assert (code, "unreachable" in out, "did not answer within 10 s" in out) == (3, True, True)


def test_without_its_nameserver_the_head_node_still_looks_at_itself(
    wnodes: Cli, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(directory: Directory) -> site.SiteView:
        raise UnavailableError(object="nameserver", reason="does not answer")

    monkeypatch.setattr(site, "site_view", silent)
    code, out, _err = wnodes("doctor")
    assert (code, out.strip()) == (0, "head  1 ok")


def test_another_version_than_the_heads_is_a_warning(wnodes: Cli, node: Node) -> None:
    node.version = "0.0.1"
    found = json.loads(wnodes("doctor", "--json", "hv1")[1])["hosts"][0]["findings"]
    assert [finding["reason"][:24] for finding in found if finding["object"] == "wnodes-bait"] == [
        "is another version than "
    ]


def test_only_root_may_look(wnodes: Cli, own: list[Finding], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    code, _out, err = wnodes("doctor")
    assert (code, "run it as root" in err) == (1, True)
