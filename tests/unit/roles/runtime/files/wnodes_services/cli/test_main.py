# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands, exit codes and tables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.releases import TAG
from tests.unit.roles.runtime.files.wnodes_services.cli.conftest import ODD, WELL, Cli, Directory, job
from wnodes.model.errors import AuthError, UnavailableError
from wnodes_services.cli import site


def test_status_is_0_when_well_and_1_with_the_problem_when_not(wnodes: Cli) -> None:
    code, out, _err = wnodes("status")
    assert code == 0
    assert f"images: {TAG}" in out
    wnodes.see(WELL, ODD)
    code, out, _err = wnodes("status")
    assert code == 1
    assert "hv1 hypervisor: libvirt: does not answer" in out
    code, out, _err = wnodes("status", "--json")
    assert code == 1
    assert json.loads(out)["ok"] is False


def test_jobs_shows_what_is_under_way_and_all_with_all(wnodes: Cli) -> None:
    _code, out, _err = wnodes("jobs")
    assert "VM_REQUESTED" in out
    assert "FINISHED" not in out
    _code, out, _err = wnodes("jobs", "--all")
    assert "FINISHED" in out
    assert [item["lrms_id"] for item in json.loads(wnodes("jobs", "--json")[1])] == ["7"]
    assert len(json.loads(wnodes("jobs", "--json", "--all")[1])) == 2


def test_vms(wnodes: Cli) -> None:
    assert "vwn-100  READY" in wnodes("vms")[1]
    assert len(json.loads(wnodes("vms", "--json", "--all")[1])) == 2


def test_explain_says_all_that_is_known(wnodes: Cli) -> None:
    code, out, _err = wnodes("explain", "7")
    assert code == 0
    for text in (
        "its VM",
        "[bold]not markup[/bold]",
        "2 CPUs, 512 MiB memory",
        "RECEIVED 5.0, VM_REQUESTED 5.0",
        "hv1",
    ):
        assert text in out
    assert json.loads(wnodes("explain", "r7", "--json")[1])["seconds"] == {"RECEIVED": 5.0, "VM_REQUESTED": 5.0}
    code, _out, err = wnodes("explain", "99")
    assert code == 1
    assert "no bait knows it" in err


def test_explain_says_which_rule_made_a_value_what_it_is(wnodes: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    ruled = job("7", "HELD", ruled={"image": "/etc/wnodes/rules.yml:3"})
    monkeypatch.setattr(site, "look", lambda clock: site.View("site", 1000.0, (), (ruled,), ()))
    assert "image (/etc/wnodes/rules.yml:3)" in wnodes("explain", "7")[1]


def test_explain_tells_of_earlier_attempts(wnodes: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    again = {**job("7", "HELD"), "history": [{"state": "RECEIVED", "at": 998.0}, {"state": "HELD", "at": 999.0}]}
    before = job("7", "CLOSED", outcome="RETURNED", reason="the guest did not answer")
    monkeypatch.setattr(site, "look", lambda clock: site.View("site", 1000.0, (), (before, again), ()))
    assert "on hv1: RETURNED: the guest did not answer" in wnodes("explain", "7")[1]


def test_leases(wnodes: Cli, directory: Directory) -> None:
    assert "no leases" in wnodes("leases")[1]
    assert json.loads(wnodes("leases", "--json")[1]) == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnavailableError(object="nameserver (/run/x)", reason="does not answer", hint="start it"), 3),
        (AuthError(object="leases", reason="is not allowed"), 1),
    ],
)
def test_exit_codes_of_errors(wnodes: Cli, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int) -> None:
    def fail(clock: Any) -> Any:
        raise error

    monkeypatch.setattr(site, "look", fail)
    found, out, err = wnodes("jobs")
    assert (found, out, err) == (code, "", f"wnodes: {error}\n")


def test_wrong_usage_is_2(wnodes: Cli) -> None:
    assert wnodes("jobs", "--nonsense")[0] == 2
    assert wnodes("nonsense")[0] == 2
