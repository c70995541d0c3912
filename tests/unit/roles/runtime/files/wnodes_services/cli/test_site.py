# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command line sees: who is down, who is well, whose jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wnodes.directory.base import Heartbeat
from wnodes.hypervisor.fake import FakeHypervisor
from wnodes.jsonhttp import JsonClient
from wnodes.model.clock import FakeClock
from wnodes.model.errors import UnavailableError
from wnodes.model.resources import Resources
from wnodes.model.vm import VmRequest
from wnodes.nameserver.client import NameserverClient
from wnodes_services.cli import site

NOW = 1000.0


class Nameserver(NameserverClient):
    def __init__(self, *beats: Heartbeat) -> None:
        self._beats = beats

    def status(self) -> dict[str, Any]:
        return {"now": NOW, "heartbeat_s": 5.0, "pool": 20, "leased": 1}

    def heartbeats(self) -> tuple[Heartbeat, ...]:
        return self._beats


def job(number: str, *moves: tuple[str, float]) -> dict[str, Any]:
    history = [{"state": state, "at": at} for state, at in moves]
    return {"id": f"r{number}", "lrms_id": number, "uid": 2001, "state": moves[-1][0], "history": history}


def test_a_silent_host_is_down_with_its_age() -> None:
    view = site.site_view(
        Nameserver(
            Heartbeat("bait", "hv1", NOW - 15, {"ok": True, "tags": ["t"]}),
            Heartbeat("bait", "hv2", NOW - 16, {"ok": True}),
            Heartbeat("hypervisor", "hv1", NOW, {"ok": False, "problems": ["libvirt: does not answer"]}),
        )
    )
    nameserver, well, down, odd = view.services
    assert (nameserver.state, nameserver.detail) == (site.OK, {"names": 20, "leased": 1})
    assert (well.state, well.detail) == (site.OK, {"tags": ["t"]})
    assert (down.state, down.age_s) == (site.DOWN, 16.0)
    assert down.problems[0].startswith("silent for 16 s")
    assert "wnodes-bait.service" in down.problems[0]
    assert (odd.state, odd.problems) == (site.PROBLEM, ("libvirt: does not answer",))
    assert not view.ok


def test_what_is_heard_proves_that_its_sender_reaches_the_nameserver_again() -> None:
    lost = {"ok": False, "problems": ["nameserver: does not answer"]}
    more = {"ok": False, "problems": ["nameserver: does not answer", "lrms: does not answer"]}
    view = site.site_view(Nameserver(Heartbeat("bait", "hv1", NOW, lost), Heartbeat("bait", "hv2", NOW, more)))
    _nameserver, one, two = view.services
    assert (one.state, one.problems) == (site.OK, ())
    assert (two.state, two.problems) == (site.PROBLEM, ("lrms: does not answer",))
    here = site.node_view(FakeClock(), Bait(lost), FakeHypervisor()).services[0]  # type: ignore[arg-type]
    assert (here.state, here.problems) == (site.PROBLEM, ("nameserver: does not answer",))


def hypervisor(*states: str) -> site.Service:
    images = [{"tag": "t", "state": state} for state in states]
    return site.Service("hypervisor", "hv1", site.OK, (), 0.0, {"images": images})


@pytest.mark.parametrize(
    ("services", "said"),
    [
        ((), ""),
        ((hypervisor(), hypervisor("fetching", "ready")), ""),
        ((hypervisor(),), "there are no images on any node; the playbook image_build"),
        ((hypervisor(), hypervisor("fetching")), "no image is ready on any node; `wnodes images list`"),
    ],
)
def test_a_site_on_which_no_job_can_have_a_vm_says_so(services: tuple[site.Service, ...], said: str) -> None:
    hints = site.SiteView("site", NOW, services, (), ()).hints
    assert [said in hint for hint in hints] == [True] * bool(said)


def test_a_bait_tells_of_its_pool_as_far_as_it_makes_sense() -> None:
    kind = {"tag": "t", "flavour": "1x512", "target": 2, "waiting": 1, "coming": 1}
    view = site.site_view(
        Nameserver(
            Heartbeat("bait", "hv1", NOW, {"ok": True, "pool": [kind, "nonsense"]}),
            Heartbeat("bait", "hv2", NOW, {"ok": True, "pool": 20}),
            Heartbeat("bait", "hv3", NOW, {"ok": True}),
        )
    )
    assert [service.detail for service in view.services[1:]] == [{"pool": (kind,)}, {"pool": ()}, {}]


def test_jobs_and_vms_of_all_nodes_by_age() -> None:
    old, new = job("7", ("RECEIVED", 1.0)), job("8", ("RECEIVED", 2.0))
    vm = {"state": "STARTING", "request": {"id": "r8"}, "lease": {"name": "vm-1"}}
    view = site.site_view(
        Nameserver(
            Heartbeat("bait", "hv1", NOW, {"ok": True, "jobs": [new, "nonsense"]}),
            Heartbeat("bait", "hv2", NOW, {"ok": True, "jobs": [old]}),
            Heartbeat("hypervisor", "hv2", NOW, {"ok": True, "vms": [vm]}),
            Heartbeat("hypervisor", "hv1", NOW, {"ok": True, "vms": {"READY": 1}}),
        )
    )
    assert [(job["lrms_id"], job["host"]) for job in view.jobs] == [("7", ""), ("8", "vm-1")]
    assert view.vms == ({**vm, "hypervisor": "hv2", "reason": "", "console": ""},)
    assert view.ok


def test_seconds_count_up_to_now_unless_it_is_over() -> None:
    assert site.seconds(job("1", ("A", 990.0), ("B", 995.0)), NOW) == {"A": 5.0, "B": 5.0}
    assert site.seconds(job("1", ("A", 990.0), ("CLOSED", 995.0)), NOW) == {"A": 5.0}


def test_the_last_job_of_an_id_is_found() -> None:
    reused, first, again = {**job("7", ("A", 0.5)), "uid": 2002}, job("7", ("A", 1.0)), job("7", ("A", 2.0))
    view = site.SiteView("site", NOW, (), (reused, first, again), ())
    assert site.find_job(view, "7") == {**again, "earlier": [first]}
    assert site.find_job(view, "r7") == {**again, "earlier": [first]}
    assert site.find_job(view, "8") is None


class Bait(JsonClient):
    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def call(self, method: str, target: str, body: Any = None, *, extra_s: float = 0.0) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def test_a_node_says_which_of_its_services_is_down() -> None:
    hypervisor = FakeHypervisor()
    hypervisor.create(VmRequest("r1", "alice", "worker_debian12_x86_64", Resources(1, 512)))
    dead = UnavailableError(object="bait (/run/x)", reason="does not answer", hint="is it running?")
    view = site.node_view(FakeClock(), Bait(dead), hypervisor)  # type: ignore[arg-type]
    bait, well = view.services
    assert (bait.state, bait.problems) == (site.DOWN, ("bait (/run/x): does not answer; is it running?",))
    assert (well.state, well.detail["accel"]) == (site.OK, "qemu")
    assert view.vms[0]["request"]["id"] == "r1"
    hypervisor.down = True
    answer = {"ok": False, "problems": ["hypervisor: does not answer"], "jobs": [job("7", ("A", 1.0))]}
    view = site.node_view(FakeClock(), Bait(answer), hypervisor)  # type: ignore[arg-type]
    assert [service.state for service in view.services] == [site.PROBLEM, site.DOWN]
    assert len(view.jobs) == 1


def test_where_nothing_of_ours_runs_it_says_where_to_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(site, "RUN_DIR", str(tmp_path))
    with pytest.raises(UnavailableError, match="no service has a socket here; run this on the head node"):
        site.look(FakeClock())
    with pytest.raises(UnavailableError, match=r"nameserver\.sock.*is not here; run this on the head node"):
        site.nameserver()
