# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables keep what users wrote as it is, and are not folded in a pipe."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.releases import MANIFEST, TAG, release
from tests.unit.roles.runtime.files.wnodes_services.cli.conftest import VM, job
from wnodes.model.image import Allowed, TagEntry
from wnodes.model.lease import Lease, NetworkSettings
from wnodes.nameserver.catalogue import described
from wnodes_services.cli import show, site

LONG = "x" * 120


def printed(capsys: pytest.CaptureFixture[str], what: object) -> str:
    show.console().print(what)
    return capsys.readouterr().out


def test_problems_are_text_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    service = site.Service("bait", "hv1", site.PROBLEM, ("[red]lrms[/red]",), 0.0, {})
    out = printed(capsys, show.status(site.SiteView("site", 0.0, (service,), (), ())))
    assert "hv1 bait: [red]lrms[/red]" in out
    assert "0 virtual jobs under way, 0 virtual machines" in out


def test_zero_is_told_as_zero_and_nothing_as_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    service = site.Service("nameserver", "head", site.OK, (), 0.0, {"names": 20, "leased": 0, "accel": "", "tags": []})
    out = printed(capsys, show.status(site.SiteView("site", 0.0, (service,), (), ())))
    assert "host names 20, leased 0, accel unknown yet, images: none" in out


def kind(waiting: int, target: int) -> dict[str, object]:
    return {"tag": TAG, "flavour": "1x512", "target": target, "waiting": waiting, "coming": 0}


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ((kind(1, 2),), "waiting VMs 1/2"),
        ((kind(0, 2), kind(1, 1)), "waiting VMs 1/3"),
        ((kind(0, 2), kind(3, 1)), "waiting VMs 1/3 and 2 more"),
        ((kind(1, 0),), "waiting VMs 0/0 and 1 more"),
    ],
)
def test_a_bait_tells_how_many_of_its_vms_wait(
    capsys: pytest.CaptureFixture[str], kinds: tuple[dict[str, object], ...], said: str
) -> None:
    service = site.Service("bait", "hv1", site.OK, (), 0.0, {"tags": [TAG], "pool": kinds})
    shown = printed(capsys, show.status(site.SiteView("site", 0.0, (service,), (), ()))).splitlines()
    assert shown[1].endswith(f"images: {TAG}, {said}")


def test_a_bait_without_waiting_vms_tells_of_none(capsys: pytest.CaptureFixture[str]) -> None:
    service = site.Service("bait", "hv1", site.OK, (), 0.0, {"tags": [TAG], "pool": ()})
    assert "waiting" not in printed(capsys, show.status(site.SiteView("site", 0.0, (service,), (), ())))


def test_a_vm_that_is_nobodys_yet_waits(capsys: pytest.CaptureFixture[str]) -> None:
    vms = ({**VM, "request": {**VM["request"], "owner": owner}} for owner in ("alice", ""))
    first, second = printed(capsys, show.vms(site.SiteView("site", 1000.0, (), (), tuple(vms)), False)).splitlines()[1:]
    assert f"{TAG}  alice " in first
    assert f"{TAG}  (waiting) " in second


def test_empty_lists_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    view = site.SiteView("site", 0.0, (), (), ())
    assert "no virtual jobs under way" in printed(capsys, show.jobs(view, False))
    assert "no virtual machines" in printed(capsys, show.vms(view, False))
    assert "wnodes images publish" in printed(capsys, show.tags((), {}, 0.0))


def test_long_cells_stay_on_one_line_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    entry = described(TagEntry(TAG, release(replace(MANIFEST, allowed=Allowed((LONG,))))))
    assert LONG in printed(capsys, show.tags((entry,), {}, 0.0))


def test_an_image_tells_when_it_ends_and_where_it_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    nodes = {"hv1": {TAG: {"state": "ready"}}, "hv2": {TAG: {"state": "waiting"}}, "hv3": {}}
    for expires, said in ((0, "never"), (10 * 86400, "in 9 days"), (86400, "expired")):
        entry = described(TagEntry(TAG, release(replace(MANIFEST, expires=expires))))
        shown = printed(capsys, show.tags((entry,), nodes, 86400.0))
        assert said in shown
        assert "1/3" in shown


def test_leases_tell_when_they_run_out(capsys: pytest.CaptureFixture[str]) -> None:
    lease = Lease("vm-1", "52:54:00:00:00:01", "10.0.0.1", NetworkSettings(24), "r1", "hv1", 4, 130.0)
    assert "in 30 s" in printed(capsys, show.leases((lease,), 100.0))


@pytest.mark.parametrize(
    ("path", "said"),
    [("pool", "from the pool"), ("restore", "restored from a template"), ("cold", "booted"), ("direct", "straight")],
)
def test_a_job_tells_how_its_vm_came(capsys: pytest.CaptureFixture[str], path: str, said: str) -> None:
    assert said in printed(capsys, show.explain(job("7", "RUNNING", path=path), 1000.0))


def test_a_job_tells_what_each_phase_took_and_what_that_is(capsys: pytest.CaptureFixture[str]) -> None:
    spent = {"hook": 0.021, "vm_start": 6.0, "join": 3.0, "of another release": 0.0}
    lines = printed(capsys, show.explain(job("7", "RUNNING", phases=spent), 1000.0)).splitlines()
    shown = {name: next(line for line in lines if line.startswith(f"{name} ")) for name in spent}
    assert "    6.000 s  " + "█" * 20 + "  its VM boots or is restored" in shown["vm_start"]
    assert (shown["join"].count("█"), shown["hook"].count("█")) == (10, 0)
    assert "the bait decides and stops it" in shown["hook"]


def test_a_job_of_an_older_bait_is_explained_without_phases(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, show.explain(job("7", "RUNNING"), 1000.0))
    assert "RUNNING" in out
    assert "VM origin" not in out


def test_columns_have_names_that_need_no_explanation(capsys: pytest.CaptureFixture[str]) -> None:
    service = site.Service("bait", "hv1", site.OK, (), 3.0, {"tags": [TAG]})
    view = site.SiteView("site", 1000.0, (service,), (job("7", "HELD"),), (VM,))
    lease = Lease("vm-1", "52:54:00:00:00:01", "10.0.0.1", NetworkSettings(24), "r1", "hv1", 4, 130.0)
    tables = {
        "HOST SERVICE STATE LAST_SEEN DETAILS": show.status(view),
        "HOST BAIT HYPERVISOR JOBS VMS WAITING_VMS CPUS LOAD FREE/TOTAL_MIB ACCEL IMAGES LAST_SEEN DRAIN": show.hosts(
            site.hosts(view)
        ),
        "JOB USER IMAGE STATE SECONDS NODE VM EXIT_CODE WAITING_FOR": show.jobs(view, False),
        "VM STATE SECONDS NODE IMAGE USER CPUS MEMORY_MIB ADDRESS REASON": show.vms(view, False),
        "TAG IMAGE VERSION SIZE_MIB UPDATED EXPIRES READY_ON ALLOWED_FOR": show.tags(
            (described(TagEntry(TAG, release(MANIFEST))),), {}, 0.0
        ),
        "NAME ADDRESS MAC HOLDER NODE EPOCH EXPIRES": show.leases((lease,), 100.0),
    }
    for names, shown in tables.items():
        assert re.split(r"\s{2,}", printed(capsys, shown).splitlines()[0].strip()) == [
            name.replace("_", " ") for name in names.split()
        ]
