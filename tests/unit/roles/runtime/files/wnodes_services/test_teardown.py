# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service that leaves takes back, and what it refuses to leave behind."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.bait.bait_fixture import TAG, Site, flavour, pooled
from wnodes.lrms.base import HostState
from wnodes.model.errors import StateError
from wnodes.model.states import JobState
from wnodes.virt.domain import Metadata
from wnodes.virt.fake import FakeVmHost
from wnodes_services import teardown


def steps(site: Site, closed: str = "") -> list[teardown.UndoStep]:
    return list(teardown.bait(site.lrms, site.bait.journal, site.bait.pool._journal, closed))


def test_the_bait_takes_its_hosts_placeholders_and_tags_back() -> None:
    site = pooled(flavour())
    site.lrms.advertise((TAG,), "")
    (vm,) = site.waiting()
    found = [f"host {vm.host}", f"placeholder of {vm.id}", f"image tags {TAG}"]
    assert teardown.take(steps(site), check=True) == found
    assert site.lrms.host(vm.host) is HostState.READY
    assert teardown.take(steps(site, "it leaves"), check=False) == found
    assert site.lrms.host(vm.host) is HostState.ABSENT
    assert site.lrms.placeholders() == {}
    assert (site.lrms.tags, site.lrms.problem) == ((), "it leaves")
    # the journal of a bait that has stopped still names the host; to remove it again does no harm
    assert teardown.take(steps(site), check=False) == found[:1]


def test_the_bait_leaves_no_job_behind() -> None:
    site = Site()
    number, _told = site.dispatch()
    with pytest.raises(StateError, match=f"jobs {number}.*drain the node"):
        steps(site)


def test_jobs_on_the_node_are_counted_once_and_placeholders_are_none() -> None:
    site = Site()
    assert teardown.jobs_there(site.lrms, site.bait.journal, "hv1") == 0
    number, _told = site.dispatch()
    site.run(5)
    assert site.job(number).state is JobState.RUNNING
    assert teardown.jobs_there(site.lrms, site.bait.journal, "hv1") == 1
    site.real_job(1, 64)
    assert teardown.jobs_there(site.lrms, site.bait.journal, "hv1") == 2


def test_the_hypervisor_ends_its_own_domains_alone() -> None:
    host = FakeVmHost()
    host.add_foreign("1", "vwn-1", Metadata("alice", "r1", "sha256:0", "vwn-1", "10.0.0.1", 1))
    host.add_foreign("2", "somebody's")
    assert teardown.take(teardown.hypervisor(host), check=True) == ["domain vwn-1"]
    assert set(host.domains) == {"1", "2"}
    assert teardown.take(teardown.hypervisor(host), check=False) == ["domain vwn-1"]
    assert set(host.domains) == {"2"}
    assert teardown.take(teardown.hypervisor(host), check=False) == []
