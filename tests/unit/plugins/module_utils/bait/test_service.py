# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bait does beside its jobs: opening and closing the node, telling the site, dead placeholders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.bait.bait_fixture import (
    TAG,
    Killed,
    Site,
    flavour,
    killed,
    nothing_left,
    one_owner_each,
    only_the_pool_left,
    pooled,
    within_the_free_room,
)
from wnodes.bait.config import PoolConfig, PoolFlavour
from wnodes.bait.service import TOLD_JOBS
from wnodes.lrms.base import HostState, LrmsJobState
from wnodes.model.errors import WnodesError
from wnodes.model.job import Dispatch
from wnodes.model.resources import Resources
from wnodes.model.states import JobState, PoolState, VmState
from wnodes.model.vm import Mount
from wnodes_services.rules import parse


def test_a_healthy_node_offers_its_tags_and_says_so() -> None:
    site = Site()
    site.bait.heartbeat()
    assert (site.lrms.tags, site.lrms.problem) == ((TAG,), "")
    assert site.directory.heard[-1].status["ok"] is True


def test_without_its_hypervisor_the_node_closes_and_reopens_by_itself() -> None:
    site = Site()
    site.bait.heartbeat()
    site.hypervisor.down = True
    site.bait.heartbeat()
    assert "hypervisor does not answer" in site.lrms.problem
    assert site.lrms.tags == (TAG,)
    assert site.directory.heard[-1].status["ok"] is False
    site.hypervisor.down = False
    site.bait.heartbeat()
    assert site.lrms.problem == ""


def test_the_site_hears_where_managers_reach_the_bait() -> None:
    assert Site(manage_listen="0.0.0.0:8445").bait.status()["manage"] == "hv1:8445"
    assert Site().bait.status()["manage"] == ""


def test_a_placeholder_of_no_job_goes() -> None:
    site = Site()
    site.bait.heartbeat()
    site.lrms.holders["feedface0000"] = "99"
    site.bait.heartbeat()
    assert site.lrms.holders == {}


def test_the_epilog_of_a_job_is_let_through() -> None:
    answer = Site().bait.dispatch(Dispatch("epilog", "1", {}))
    assert answer is not None and answer.action == "run"


def test_a_job_explains_what_it_waits_for_and_where_the_time_went() -> None:
    site = Site()
    site.hypervisor.auto_ready = False
    site.dispatch()
    site.run(10)
    (told,) = site.bait.jobs()
    assert told["waits_for"] == "its VM to be ready"
    assert told["seconds"]["VM_REQUESTED"] >= 9
    assert list(told["phases"]) == ["hook", "hold"]
    assert told["path"] == ""


def test_the_status_tells_of_all_jobs_under_way_and_of_the_last_ones_that_ended() -> None:
    site = Site()
    running, other = (site.dispatch()[0] for _ in range(2))
    site.run()
    site.lrms.finish(other)
    site.run()
    ended = site.job(other)
    assert ended.state is JobState.CLOSED
    for number in range(TOLD_JOBS + 5):
        site.bait.journal.put(replace(ended, id=f"e{number}", lrms_id=str(100 + number)))
    told = [job["lrms_id"] for job in site.bait.status()["jobs"]]
    assert told == [running, *(str(105 + number) for number in range(TOLD_JOBS))]


def test_each_job_is_observed_once_in_each_state() -> None:
    seen: list[tuple[str, str]] = []
    site = Site(observe=lambda job: seen.append((job.lrms_id, job.state.value)))
    number, _answer = site.dispatch()
    site.run()
    site.lrms.finish(number)
    site.run()
    site.restart()
    site.run()
    way = ("HELD", "VM_REQUESTED", "VM_READY", "MIGRATING", "RUNNING", "FINISHED", "CLOSED")
    assert seen == [(number, state) for state in way]


def test_the_site_hears_at_once_of_a_job_that_moves() -> None:
    site = Site()
    assert not site.bait._beat_now.is_set()
    site.dispatch()
    assert site.bait._beat_now.is_set()


def test_the_nameserver_is_not_told_that_it_did_not_answer() -> None:
    site = Site()
    site.bait._note("nameserver", "EOF occurred")
    assert not site.bait.status()["ok"]
    site.bait.heartbeat()
    assert (site.directory.heard[-1].status["ok"], site.directory.heard[-1].status["problems"]) == (True, [])


# with VMs that wait


def test_a_heartbeat_leaves_the_placeholders_of_waiting_and_taken_vms_alone() -> None:
    site = pooled(flavour(2))
    site.bait.heartbeat()
    assert len(site.lrms.holders) == 2
    number, _ = site.dispatch()
    site.bait.heartbeat()
    assert len(site.lrms.holders) == 2
    site.run(5)
    site.bait.heartbeat()
    assert len(site.lrms.holders) == 3
    assert site.job(number).placeholder in site.lrms.holders.values()


def test_a_heartbeat_leaves_a_placeholder_alone_whose_vm_is_taken_while_it_looks() -> None:
    site = pooled(flavour(1))
    (there,) = site.waiting()
    placeholders, keys = site.lrms.placeholders, site.bait.pool.keys

    def taken_meanwhile() -> tuple[str, ...]:
        site.bait.pool.keys = keys  # type: ignore[method-assign]
        site.dispatch()
        return keys()

    site.bait.pool.keys = taken_meanwhile  # type: ignore[method-assign]
    site.bait.heartbeat()
    assert placeholders()[there.id] == there.placeholder


@pytest.mark.parametrize("waiting", [(), (flavour(1),)])
def test_a_heartbeat_leaves_a_placeholder_alone_that_is_placed_while_it_looks(waiting: tuple[PoolFlavour, ...]) -> None:
    site = Site(pool=PoolConfig(waiting))
    placeholders = site.lrms.placeholders

    def placed_meanwhile() -> dict[str, str]:
        site.lrms.placeholders = placeholders  # type: ignore[method-assign]
        if waiting:
            site.run(10)
        else:
            site.dispatch()
        return placeholders()

    site.lrms.placeholders = placed_meanwhile  # type: ignore[method-assign]
    site.bait.heartbeat()
    assert len(site.lrms.holders) == 1


def test_the_site_is_told_what_should_wait_and_what_does() -> None:
    site = Site(pool=PoolConfig((flavour(2),)))
    site.hypervisor.auto_ready = False
    site.run(5)
    told = {"tag": TAG, "flavour": "1x512", "target": 2}
    (said,) = site.bait.status()["pool"]
    assert {**said, "flavour": "1x512"} == {**told, "waiting": 0, "coming": 2, "used": 0}
    for vm in site.pool():
        site.hypervisor.put(vm.id, VmState.READY)
    site.run(5)
    (said,) = site.bait.status()["pool"]
    assert (said["waiting"], said["coming"]) == (2, 0)


def test_a_job_gets_the_vm_that_it_had_taken_when_the_bait_was_killed() -> None:
    site = pooled(flavour(2))
    site.failpoints.set("bait.take", killed)
    number = site.lrms.submit(tag=TAG)
    with pytest.raises(Killed):
        site.bait.dispatch(site.lrms.dispatch(number))
    (taken,) = site.pool(PoolState.TAKEN)
    site.restart()
    site.bait.pool.reconciler.run_due()
    assert site.pool(PoolState.TAKEN) == [taken]
    site.bait.pool.given = lambda _vm: killed()  # type: ignore[method-assign]
    with pytest.raises(Killed):
        site.bait.reconciler.run_due()
    assert site.job(number).vm == taken.id
    site.restart()
    site.bait.pool.reconciler.run_due()
    assert taken.id not in {vm.id for vm in site.pool()}
    site.run(5)
    assert (site.job(number).state, site.job(number).host) == (JobState.RUNNING, taken.host)


def test_a_vm_that_was_taken_by_a_job_that_went_away_meanwhile_leaves(tmp_path: Path) -> None:
    site = pooled(flavour(1), path=str(tmp_path / "bait.db"))
    site.failpoints.set("bait.take", killed)
    number = site.lrms.submit(tag=TAG)
    with pytest.raises(Killed):
        site.bait.dispatch(site.lrms.dispatch(number))
    assert len(site.pool(PoolState.TAKEN)) == 1
    site.lrms.change(number, state=LrmsJobState.CANCELLED)
    site.restart()
    site.run(60)
    assert site.job(number).outcome is JobState.CANCELLED
    assert "never used it" in str(site.bait.pool._journal.all())
    only_the_pool_left(site)


POINTS = [
    "bait.join",
    "bait.place_waiting",
    "bait.take",
    "bait.place",
    "bait.stop",
    "bait.held",
    "bait.migrating",
    "bait.send",
    "bait.running",
    "bait.finished",
    "bait.remove_host",
    "bait.unplace",
    "bait.remove_waiting_host",
]


def survive(site: Site, act: Callable[[], object]) -> int:
    """Do something and start the bait again where it is killed by that; return how often it was."""
    try:
        act()
    except Killed:
        site.restart()
        return 1 + survive(site, lambda: site.run(10))
    return 0


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_point_with_vms_waiting_it_converges(tmp_path: Path, point: str) -> None:
    site = Site(str(tmp_path / "bait.db"), pool=PoolConfig((flavour(1), flavour(1, 1024))))
    site.watch = lambda: one_owner_each(site)
    site.failpoints.set(point, killed)
    died = survive(site, lambda: site.run(20))
    only_the_pool_left(site)
    number = site.lrms.submit(tag=TAG)
    dispatch = site.lrms.dispatch(number)
    died += survive(site, lambda: site.bait.dispatch(dispatch))
    died += survive(site, lambda: site.run(20))
    assert site.job(number).state in (JobState.RUNNING, JobState.FINISHED)
    assert site.job(number).path == "pool"
    assert len(site.waiting()) == 2
    site.bait.heartbeat()
    site.lrms.finish(number, 4)
    died += survive(site, lambda: site.run(20))
    assert (site.job(number).outcome, site.job(number).exit_code) == (JobState.FINISHED, 4)
    only_the_pool_left(site)
    site.lrms.drained = True
    died += survive(site, lambda: site.run(20))
    assert site.pool() == []
    nothing_left(site)
    assert died == 1


@pytest.mark.parametrize("point", ["bait.reuse", "bait.unplace", "bait.closed"])
def test_killed_while_a_vm_is_kept_for_its_user_it_converges(point: str) -> None:
    site = pooled(flavour(1), reuse_s=1000.0)
    number, _ = site.dispatch()
    site.run(5)
    site.failpoints.set(point, killed)
    site.lrms.finish(number)
    with pytest.raises(Killed):
        site.run(10)
    site.restart()
    for _ in range(2):  # before the job's next step
        site.bait.pool.reconciler.run_due()
        site.clock.advance(1)
    site.run(20)
    assert sorted(vm.user for vm in site.waiting()) == ["", "alice"]
    only_the_pool_left(site)


NUMBERS = st.integers(0, 9)
EVENTS = st.one_of(
    st.tuples(st.just("arrive"), st.sampled_from([(1, 512), (1, 300), (2, 1024), (1, 2000)]), st.sampled_from("ab")),
    st.tuples(st.just("real"), st.integers(0, 8), st.integers(0, 8000)),
    st.tuples(st.sampled_from(["cancel", "finish", "break", "lose", "host", "again"]), NUMBERS),
    st.tuples(st.just("crash"), st.sampled_from(["", *POINTS])),
    st.tuples(st.sampled_from(["drained", "lrms", "hypervisor", "slow", "image"]), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 1.0, 10.0, 100.0])),
)


class Story:
    """A site to which things happen."""

    def __init__(self) -> None:
        self.site = Site(pool=PoolConfig((flavour(2), flavour(1, 1024, 2)), learn=1))
        self.site.hypervisor.digests = {TAG: "old"}
        self.site.watch = lambda: one_owner_each(self.site)
        self.over: set[str] = set()

    def dispatch(self, number: str) -> None:
        """Play node and hook: what the bait does not answer for goes back into the queue."""
        site = self.site
        answer = None
        seen = site.lrms.dispatch(number)
        try:
            answer = site.bait.dispatch(seen)
        except WnodesError:
            pass
        except Killed:
            site.restart()
        if answer is None and site.lrms.table[number].host == site.lrms.node:
            site.lrms.change(number, state=LrmsJobState.PENDING, host="", mark="")
        assert site.lrms.table[number].host != site.lrms.node

    def happens(self, what: str, *how: Any) -> None:
        site, lrms, vms = self.site, self.site.lrms, self.site.hypervisor
        jobs = list(lrms.table.values())
        alive = [vm.id for vm in vms.vms.values() if vm.state is not VmState.GONE]
        if what == "arrive":
            self.dispatch(lrms.submit(user=how[1], tag=TAG, cpus=how[0][0], memory_mib=how[0][1]))
        elif what == "real":
            lrms.taken = Resources(*how)
            site.bait.pool.make_room()
        elif what in ("cancel", "finish") and jobs:
            job = jobs[how[0] % len(jobs)]
            if what == "cancel" or job.state is LrmsJobState.RUNNING:
                self.end(job.id, LrmsJobState.CANCELLED if what == "cancel" else LrmsJobState.ENDED)
        elif what == "again":
            self.again()
        elif what == "break" and alive:
            vms.put(alive[how[0] % len(alive)], VmState.BROKEN, "broke")
        elif what == "lose" and alive:
            del vms.vms[alive[how[0] % len(alive)]]
        elif what == "host" and lrms.hosts:
            lrms.hosts[sorted(lrms.hosts)[how[0] % len(lrms.hosts)]].state = HostState.DOWN
        elif what == "crash" and how[0]:
            site.failpoints.set(how[0], killed)
        elif what == "crash":
            site.restart()
        else:
            self.switch(what, how[0])
        survive(site, lambda: site.run(how[0] if what == "wait" else 2.0))

    def switch(self, what: str, how: bool) -> None:
        site = self.site
        if what == "drained":
            site.lrms.drained = how
        elif what in ("lrms", "hypervisor"):
            getattr(site, what).down = how
        elif what == "slow":
            site.hypervisor.auto_ready = not how
        elif what == "image":
            site.hypervisor.digests = {TAG: "new"} if how else {"x_y_z": "old"}

    def again(self) -> None:
        for job in list(self.site.lrms.table.values()):
            if job.state is LrmsJobState.PENDING and not job.fixed["ReqNodeList"]:
                self.dispatch(job.id)

    def end(self, number: str, state: LrmsJobState) -> None:
        if number not in self.over:
            self.over.add(number)
            self.site.lrms.change(number, state=state, exit_code=0)

    def all_is_well(self) -> None:
        for what in ("drained", "lrms", "hypervisor", "slow"):
            self.switch(what, False)
        self.site.hypervisor.digests = {TAG: "new"}
        self.site.lrms.taken = Resources(0, 0)
        self.site.failpoints._actions.clear()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=st.lists(EVENTS, max_size=20))
def test_whatever_happens_each_vm_has_one_owner_no_job_is_lost_and_in_the_end_nothing_is_left(
    events: list[tuple[Any, ...]],
) -> None:
    story = Story()
    site = story.site
    for event in events:
        story.happens(*event)
    story.all_is_well()
    site.run(1500)
    for number, job in site.lrms.table.items():
        waits = job.state is LrmsJobState.PENDING and not job.fixed["ReqNodeList"]
        runs = job.state is LrmsJobState.RUNNING and job.host in site.lrms.hosts
        assert number in story.over or waits or runs or site.job(number).outcome is JobState.REFUSED
    within_the_free_room(site)
    for number in site.lrms.table:
        story.end(number, LrmsJobState.CANCELLED)
    site.run(1500)
    assert [job for job in site.bait.journal.all() if job.state is not JobState.CLOSED] == []
    only_the_pool_left(site)
    within_the_free_room(site)
    site.bait.heartbeat()
    only_the_pool_left(site)
    site.lrms.drained = True
    site.run(60)
    assert site.pool() == []
    nothing_left(site)


STATIC = f"""
- match: {{partitions: [main]}}
  image: {{default: {TAG}, allowed: ["worker_*"]}}
  memory: {{max: 2G}}
- match: {{users: [bob]}}
  image: {{default: none}}
"""


def ruled() -> Site:
    return Site(rules=parse(STATIC, "r"))


def test_a_job_that_names_no_image_gets_the_default_of_its_rule_and_says_by_which() -> None:
    site = ruled()
    number, answer = site.dispatch(tag="")
    assert answer == "stopped"
    site.run()
    job = site.job(number)
    assert (job.state, job.request.tag, job.ruled) == (JobState.RUNNING, TAG, {"image": "r:3"})
    assert site.lrms.table[number].host == job.host
    assert next(told for told in site.bait.jobs() if told["lrms_id"] == number)["ruled"] == {"image": "r:3"}


def test_a_job_of_one_whom_no_default_is_for_is_a_real_job() -> None:
    site = ruled()
    assert site.dispatch(tag="", user="bob")[1] == "run"
    assert site.bait.jobs() == []


@pytest.mark.parametrize(
    ("asks", "said"),
    [
        ({"tag": "", "memory_mib": 4096}, "memory (4096 MiB): is more than the rule allows (2048 MiB, r:4)"),
        ({"tag": "gpu_a_b"}, "image (gpu_a_b): is not for alice in partition main (r:3)"),
        ({"tag": "", "comment": "wnodes:scratch"}, "is not key value"),
    ],
)
def test_a_job_beyond_the_rules_is_held_with_value_limit_and_rule(asks: dict[str, object], said: str) -> None:
    site = ruled()
    number, answer = site.dispatch(**asks)
    assert answer == "stopped"
    site.run()
    assert site.job(number).outcome is JobState.REFUSED
    assert said in site.lrms.table[number].mark
    assert site.lrms.table[number].state is LrmsJobState.HELD
    nothing_left(site)


def test_a_waiting_vm_goes_to_a_job_only_if_it_is_what_the_rules_give() -> None:
    config = {"mounts": (Mount("/home", "/home"),), "pool": PoolConfig((flavour(1),))}
    site = Site(rules=parse("- match: {users: [bob]}\n  mounts: []\n", "r"), **config)
    site.run(30)
    (waiting,) = site.waiting()
    number, _answer = site.dispatch(user="bob")
    site.run()
    assert site.job(number).vm_id != waiting.id
    assert site.hypervisor.vms[site.job(number).vm_id].request.mounts == ()
    number, _answer = site.dispatch(user="alice")
    assert site.job(number).vm_id == waiting.id
