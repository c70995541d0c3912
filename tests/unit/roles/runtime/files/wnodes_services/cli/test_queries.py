# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was told last, and how the commands end that show it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.releases import TAG
from tests.unit.roles.runtime.files.wnodes_services.cli.conftest import ODD, VM, WELL, Cli, Directory, job
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


def test_a_site_without_images_is_well_and_gets_a_hint(wnodes: Cli) -> None:
    wnodes.see(replace(ODD, state=site.OK, problems=(), detail={"images": []}))
    code, out, _err = wnodes("status")
    assert (code, out.splitlines()[-1][:29]) == (0, "no job can have a VM yet: the")
    assert len(json.loads(wnodes("status", "--json")[1])["hints"]) == 1


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


@pytest.mark.parametrize("key", ["99", "99_7", "99_[1-3,5%2]", "99+1", "0123456789ab"])
def test_an_id_that_no_bait_knows_is_not_found(wnodes: Cli, key: str) -> None:
    assert wnodes("explain", key)[0] == 1


def test_a_node_speaks_for_itself_alone(wnodes: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "look", lambda clock: site.SiteView("node", 1000.0, (WELL,), (), ()))
    code, _out, err = wnodes("explain", "99")
    assert (code, "job 99: the bait of this node does not know it" in err, "on the head node, or" in err) == (1, 1, 1)


@pytest.mark.parametrize("key", ["abc", "99_", "99.0", "vwn-100", "99_7_1", "-C"])
def test_what_is_no_id_is_wrong_usage(wnodes: Cli, key: str) -> None:
    code, out, err = wnodes("explain", key)
    assert (code, out) == (2, "")
    assert err


def test_explain_says_which_rule_made_a_value_what_it_is(wnodes: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    ruled = job("7", "HELD", ruled={"image": "/etc/wnodes/rules.yml:3"})
    monkeypatch.setattr(site, "look", lambda clock: site.SiteView("site", 1000.0, (), (ruled,), ()))
    assert "image (/etc/wnodes/rules.yml:3)" in wnodes("explain", "7")[1]


def test_a_console_has_a_heading_of_its_own(wnodes: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {**VM, "state": "BROKEN", "reason": "did not boot", "console": "Booting\nKernel panic"}
    before = job("7", "CLOSED", outcome="RETURNED", reason="did not boot", console="Booting\nKernel panic")
    again = job("7", "HELD", history=[{"state": "RECEIVED", "at": 998.0}])
    view = site.SiteView("site", 1000.0, (), (before, again), (failed,))
    monkeypatch.setattr(site, "look", lambda clock: view)
    for command, heading in (("vms", "of vwn-100"), ("explain 7", "of the VM of an earlier attempt, 19")):
        lines = wnodes(*command.split())[1].splitlines()
        assert any(line.endswith("did not boot") for line in lines)
        (at,) = [number for number, line in enumerate(lines) if f"last lines of the console {heading}" in line]
        assert lines[at + 1 :] == ["Booting", "Kernel panic"]


def test_explain_tells_of_earlier_attempts(wnodes: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    again = {**job("7", "HELD"), "history": [{"state": "RECEIVED", "at": 998.0}, {"state": "HELD", "at": 999.0}]}
    before = job("7", "CLOSED", outcome="RETURNED", reason="the guest did not answer")
    monkeypatch.setattr(site, "look", lambda clock: site.SiteView("site", 1000.0, (), (before, again), ()))
    assert "on hv1: RETURNED: the guest did not answer" in wnodes("explain", "7")[1]


@pytest.mark.parametrize("command", ["status", "jobs", "vms", "hosts", "explain 7"])
def test_lines_of_tables_end_with_their_last_word(wnodes: Cli, command: str) -> None:
    wnodes.see(WELL, ODD)
    lines = wnodes(*command.split())[1].splitlines()
    assert len(lines) > 1
    assert [line for line in lines if line != line.rstrip()] == []


def test_leases(wnodes: Cli, directory: Directory) -> None:
    assert "no leases" in wnodes("leases")[1]
    assert json.loads(wnodes("leases", "--json")[1]) == []


BAIT2 = site.Service("bait", "hv2", site.DOWN, ("silent for 60 s",), 60.0, {})


def test_hosts_narrow_what_is_shown_and_judged(wnodes: Cli) -> None:
    wnodes.see(WELL, BAIT2)
    assert wnodes("status")[0] == 1
    code, out, _err = wnodes("status", "hv1")
    assert (code, "hv2" in out) == (0, False)
    assert json.loads(wnodes("jobs", "hv2", "--json", "--all")[1]) == []
    assert len(json.loads(wnodes("vms", "hv[1-2]", "--json", "--all")[1])) == 2
    code, _out, err = wnodes("jobs", "hv3")
    assert (code, "known hosts: hv1, hv2" in err) == (1, True)


def test_hosts_tells_a_line_of_each_node(wnodes: Cli) -> None:
    drain = {"reason": "disk", "jobs": 1, "vms": 0, "empty": False, "late": True}
    load = {"cpus": 8, "load": 1.5, "memory_mib": 16000, "available_mib": 9000}
    image = {"tag": TAG, "state": "ready"}
    wnodes.see(
        site.Service("nameserver", "head", site.OK, (), 0.0, {}),
        replace(WELL, detail={"drain": drain, "pool": ({"waiting": 2},)}),
        replace(ODD, state=site.OK, problems=(), detail={"accel": "kvm", "images": [image], "node": load}),
    )
    code, out, _err = wnodes("hosts", "--json")
    (row,) = json.loads(out)
    assert code == 0
    wanted = {"host": "hv1", "bait": "OK", "jobs": 1, "vms": 1, "waiting": 2, "drain": drain, "node": load}
    assert {key: row[key] for key in wanted} == wanted
    assert (row["images"], row["accel"], row["age_s"]) == ([TAG], "kvm", 2.0)
    out = wnodes("hosts")[1]
    for text in ("9000/16000", "kvm", "drained (1 job, 0 waiting VMs left, late): disk"):
        assert text in out


def test_hosts_is_1_where_a_node_has_a_problem_and_shows_what_it_does_not_know(wnodes: Cli) -> None:
    wnodes.see(ODD, BAIT2)
    code, out, _err = wnodes("hosts", "--json")
    assert (code, [row["node"] for row in json.loads(out)]) == (1, [None, None])
    assert json.loads(out)[1]["problems"] == ["bait: silent for 60 s"]
    assert "DOWN" in wnodes("hosts")[1]


def test_a_drained_node_is_visible_and_no_problem(wnodes: Cli) -> None:
    drain = {"reason": "disk", "jobs": None, "vms": 2, "empty": False, "late": False}
    wnodes.see(replace(WELL, detail={"drain": drain}))
    code, out, _err = wnodes("status")
    assert (code, "drained (? jobs, 2 waiting VMs left): disk" in out) == (0, True)
    wnodes.see(replace(WELL, detail={"drain": {**drain, "empty": True}}))
    assert "drained (empty): disk" in wnodes("status")[1]
