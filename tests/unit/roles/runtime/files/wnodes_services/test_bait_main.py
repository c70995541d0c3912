# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bait tells, and to whom: another user's job does not exist."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.plugins.module_utils.bait.bait_fixture import Site
from wnodes.model.errors import NotFoundError
from wnodes.model.job import Job, JobRequest
from wnodes.model.resources import Resources
from wnodes.model.states import JobState
from wnodes.model.vm import Move
from wnodes_services import bait_main


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


def test_metrics(calling: Any, app: Any, site: Site) -> None:
    job = job_of(site, 2001)
    text = calling(app).ask("GET", "/metrics")[1].decode()
    assert f'wnodes_jobs{{state="{job["state"]}"}} 1.0' in text
    assert "wnodes_bait_ok" in text
