# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bait tells, and to whom: another user's job does not exist."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.module_utils.bait.bait_fixture import TAG, Site
from wnodes.bait.rules import Rules
from wnodes.engine.pulse import Pulse
from wnodes.model.clock import FakeClock
from wnodes.model.errors import AuthError, ConfigError, NotFoundError, RequestError
from wnodes.model.job import Job, JobRequest
from wnodes.model.resources import Resources
from wnodes.model.states import JobState
from wnodes.model.vm import Move
from wnodes_services import bait_main, edge
from wnodes_services.metrics import JobMetrics, ShapeLabels


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def app(site: Site) -> Any:
    return bait_main.application(site.bait)


def job_of(site: Site, uid: int) -> dict[str, Any]:
    """Put a virtual job of ``uid`` into the journal; return it as the bait tells it."""
    request = JobRequest("worker_debian12_x86_64", Resources(1, 512))
    history = (Move("RECEIVED", site.clock.now()),)
    site.bait.journal.put(Job(f"r{uid}", f"1{uid}", "somebody", uid, request, JobState.RECEIVED, history))
    return site.bait.jobs()[-1]


def test_root_sees_all_and_a_user_its_own(calling: Any, app: Any, site: Site) -> None:
    first, second = job_of(site, 2001), job_of(site, 2002)
    assert [job["id"] for job in calling(app, uid=0).call("GET", "/v1/jobs")] == [first["id"], second["id"]]
    user = calling(app, uid=2001)
    assert [job["id"] for job in user.call("GET", "/v1/jobs")] == [first["id"]]
    assert [job["id"] for job in user.call("GET", "/v1/status")["jobs"]] == [first["id"]]
    assert calling(app).call("GET", "/v1/jobs") == []


def test_a_job_is_found_by_either_id(calling: Any, app: Any, site: Site) -> None:
    job = job_of(site, 2001)
    user = calling(app, uid=2001)
    assert user.call("GET", f"/v1/jobs/{job['id']}")["lrms_id"] == job["lrms_id"]
    assert user.call("GET", f"/v1/jobs/{job['lrms_id']}")["id"] == job["id"]
    for uid, key in ((2002, job["id"]), (2001, "none")):
        with pytest.raises(NotFoundError, match="is not known here"):
            calling(app, uid=uid).call("GET", f"/v1/jobs/{key}")


def test_status_tells_the_host(calling: Any, app: Any, site: Site) -> None:
    site.bait.heartbeat()
    status = calling(app, uid=0).call("GET", "/v1/status")
    assert (status["ok"], status["host"], status["tags"]) == (True, "hv1", list(site.hypervisor.tags))


def test_bytes_of_a_user_s_that_are_no_text_keep_nobody_from_an_answer(calling: Any, app: Any, site: Site) -> None:
    job_of(site, 2001)
    job = site.bait.journal.get("r2001")
    assert job is not None
    bad = {"reason": "wnodes:\udcff=1 is not known here", "name": "\ud800", "user": "DOM\\al\udc80ice"}
    site.bait.journal.put(replace(job, **bad))
    root = calling(app, uid=0)
    for told in (root.call("GET", "/v1/jobs")[0], root.call("GET", "/v1/status")["jobs"][0]):
        assert told["user"] == "DOM\\al?ice"
        assert "wnodes:?=1" in json.dumps(told)


MANAGER = ("manager.wnodes", "head.manager.wnodes")


def test_a_manager_sees_and_does_what_root_does(calling: Any, app: Any, site: Site) -> None:
    job_of(site, 2001)
    manager = calling(app, names=MANAGER)
    assert len(manager.call("GET", "/v1/jobs")) == 1
    assert manager.call("POST", "/v1/drain", {"reason": "new kernel"})["drain"]["who"] == "root on head"
    assert calling(app, uid=0).call("POST", "/v1/undrain")["changed"] is True


def test_nobody_else_drains(calling: Any, app: Any, site: Site) -> None:
    for call in ("/v1/drain", "/v1/undrain"):
        for who in ({"uid": 2001}, {"names": ("bait.wnodes", "hv1.bait.wnodes")}, {}):
            with pytest.raises(AuthError, match="only root may do this"):
                calling(app, **who).call("POST", call, {"reason": "new kernel"})
    assert site.bait.status()["drain"] is None


@pytest.mark.parametrize("body", [{"reason": ""}, {"reason": "x", "then": "kill"}, {"reason": "x", "colour": "red"}])
def test_a_drain_that_makes_no_sense_is_refused_by_name(calling: Any, app: Any, body: dict[str, str]) -> None:
    with pytest.raises(RequestError, match=f"{list(body)[-1]}"):
        calling(app, uid=0).call("POST", "/v1/drain", body)


def test_metrics(calling: Any, app: Any, site: Site) -> None:
    job = job_of(site, 2001)
    text = calling(app).ask("GET", "/metrics")[1].decode()
    assert f'wnodes_jobs{{node="hv1",state="{job["state"]}"}} 1.0' in text
    assert 'wnodes_bait_ok{node="hv1"}' in text
    assert 'wnodes_bare_runs_total{node="hv1"} 0.0' in text
    assert 'wnodes_jobs_limited{node="hv1"} 0.0' in text
    assert "wnodes_pool_waiting" not in text


def test_what_the_nets_catch_is_in_the_metrics(calling: Any, app: Any, site: Site) -> None:
    site.bait.bare.look()
    site.lrms.start_bare(site.lrms.submit(tag=TAG))
    site.bait.bare.look()
    site.bait.journey.faults.failed(TAG, "no init found")
    text = calling(app).ask("GET", "/metrics")[1].decode()
    assert 'wnodes_bare_runs_total{node="hv1"} 1.0' in text
    assert f'wnodes_image_faults{{image="{TAG}",node="hv1"}} 1.0' in text


def test_a_job_that_is_over_is_in_the_metrics(calling: Any) -> None:
    metrics = JobMetrics("hv1")
    site = Site(observe=metrics.observe)
    number, _answer = site.dispatch()
    site.run()
    site.lrms.finish(number)
    site.run()
    text = calling(bait_main.application(site.bait, metrics)).ask("GET", "/metrics")[1].decode()
    assert f'wnodes_jobs_total{{image="{TAG}",node="hv1",outcome="FINISHED"' in text
    assert "wnodes_job_start_seconds_count" in text
    assert 'phase="hook"' in text


def test_the_pool_tells_what_waits_and_what_should(calling: Any, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = {"tag": TAG, "flavour": "1x512", "target": 3, "waiting": 2, "coming": 1}
    told = {**site.bait.status(), "pool": [shape]}
    monkeypatch.setattr(site.bait, "status", lambda: told)
    text = calling(bait_main.application(site.bait)).ask("GET", "/metrics")[1].decode()
    labels = f'flavour="1x512",image="{TAG}",node="hv1"'
    assert f"wnodes_pool_waiting{{{labels}}} 2.0" in text
    assert f"wnodes_pool_target{{{labels}}} 3.0" in text


def test_shapes_that_share_a_label_are_added_up() -> None:
    metrics = JobMetrics("hv1", ShapeLabels(flavours=0))
    pool = [{"tag": TAG, "flavour": str(size), "target": 2, "waiting": 1, "coming": 0} for size in range(3)]
    figures = [(name, labels["flavour"], value) for name, _text, labels, value in bait_main.pool_figures(pool, metrics)]
    assert figures == [("wnodes_pool_waiting", "other", 3), ("wnodes_pool_target", "other", 6)]


@pytest.mark.parametrize(
    ("text", "line"), [("- cpus: {max: x}", "r.yml:1: cpus.max"), ("- mounts: [/a]", "r.yml:1: mounts")]
)
def test_rules_that_are_broken_or_can_not_hold_on_this_node_keep_the_service_from_starting(
    site: Site, tmp_path: Path, text: str, line: str
) -> None:
    file = tmp_path / "r.yml"
    assert bait_main.node_rules(site.config) == Rules()
    file.write_text("- cpus: {max: 1}")
    config = replace(site.config, rules=str(file))
    assert len(bait_main.node_rules(config).rules) == 1
    file.write_text(text)
    with pytest.raises(ConfigError, match=line):
        bait_main.node_rules(config)
    with pytest.raises(ConfigError, match=r"gone.yml: No such file"):
        bait_main.node_rules(replace(config, rules=str(tmp_path / "gone.yml")))


def test_a_bundle_has_what_the_service_and_this_bait_tell(
    calling: Any, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "evidence", lambda *units: {"units.txt": lambda: " ".join(units)})
    told = calling(app, names=MANAGER).call("GET", "/v1/bundle")
    assert set(told) == {"units.txt", "status.json", "config.json", "waiting.json"}
    assert json.loads(told["config.json"])["host"] == "hv1"
    with pytest.raises(AuthError):
        calling(app, uid=2001).call("GET", "/v1/bundle")


def test_a_loop_that_is_stuck_is_named_in_the_status(calling: Any, site: Site) -> None:
    clock = FakeClock()
    pulse = Pulse(clock.now)
    pulse.loop("hook", 30.0)
    client = calling(bait_main.application(site.bait, pulse=pulse), uid=0)
    before = client.call("GET", "/v1/status")["problems"]
    clock.advance(31)
    assert client.call("GET", "/v1/status")["problems"] == [*before, "loop hook has been stuck for 31 s"]
