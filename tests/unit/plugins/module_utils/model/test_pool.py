# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many VMs should wait, which job one is right for, and which have to go."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wnodes.model.codec import decode, encode
from wnodes.model.errors import StateError
from wnodes.model.job import JobRequest
from wnodes.model.pool import PoolVm, fits, learnt, peak, plan, refill_s
from wnodes.model.resources import Resources
from wnodes.model.states import PoolState
from wnodes.model.vm import Mount

ASKED = JobRequest("a_b_c", Resources(2, 1000, 100))
OTHER = JobRequest("d_e_f", Resources(1, 500))
NODE = Resources(8, 8000)
C, J, W, L = PoolState.COMING, PoolState.JOINING, PoolState.WAITING, PoolState.LEAVING


def charge(resources: Resources) -> Resources:
    return replace(resources, memory_mib=resources.memory_mib + 100)


def vm(name: str, state: PoolState = W, request: JobRequest = ASKED, born: float = 0.0, user: str = "") -> PoolVm:
    return PoolVm(name, request, state, since=born, born=born, user=user)


@pytest.mark.parametrize(
    ("change", "right"),
    [
        ({}, True),
        ({"resources": Resources(2, 999, 100)}, True),
        ({"resources": Resources(2, 1000, 99)}, True),
        ({"resources": Resources(2, 1001, 100)}, False),
        ({"resources": Resources(2, 1000, 101)}, False),
        ({"resources": Resources(1, 1000, 100)}, False),
        ({"resources": Resources(3, 1000, 100)}, False),
        ({"tag": "d_e_f"}, False),
        ({"mounts": (Mount("/data", "/data"),)}, False),
    ],
)
def test_a_vm_is_right_for_a_job_that_asks_no_more_and_for_as_many_cpus(change: dict[str, object], right: bool) -> None:
    assert fits(ASKED, replace(ASKED, **change)) is right  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("times", "most"),
    [([], 0), ([5.0], 1), ([0.0, 10.0], 2), ([0.0, 10.1], 1), ([30.0, 0.0, 1.0, 2.0, 31.0], 3), ([1.0, 1.0], 2)],
)
def test_a_peak_is_the_most_that_came_within_a_window(times: list[float], most: int) -> None:
    assert peak(times, 10.0) == most


@given(st.lists(st.floats(0, 1000), max_size=30), st.floats(0, 100))
def test_a_peak_is_what_counting_at_each_arrival_gives(times: list[float], window: float) -> None:
    assert peak(times, window) == max((sum(0 <= t - start <= window for t in times) for start in times), default=0)


def test_what_was_asked_for_together_is_learnt_up_to_a_limit_and_forgotten() -> None:
    arrivals = [(900.0, ASKED), (901.0, ASKED), (902.0, ASKED), (950.0, OTHER), (0.0, OTHER)]
    assert learnt(arrivals, 1000, 100, 30, 9) == {ASKED: 3, OTHER: 1}
    assert learnt(arrivals, 1000, 100, 30, 2) == {ASKED: 2, OTHER: 1}
    assert learnt(arrivals, 1000, 99, 30, 9) == {ASKED: 2, OTHER: 1}
    assert learnt(arrivals, 1100, 100, 30, 9) == {}
    assert learnt(arrivals, 1000, 100, 30, 0) == {}


def test_refilling_takes_what_nearly_all_of_the_last_took() -> None:
    assert refill_s((), 30.0) == 30.0
    assert refill_s((4.0,), 30.0) == 4.0
    assert refill_s([float(n) for n in range(100)], 30.0) == 94.0
    assert refill_s([1.0] * 19 + [60.0], 30.0) == 1.0


def test_the_emptiest_kind_is_made_first() -> None:
    assert plan({ASKED: 2, OTHER: 2}, [vm("x")], NODE, charge).make == (OTHER, ASKED, OTHER)


@pytest.mark.parametrize(("free", "made"), [(Resources(8, 2199), 1), (Resources(3, 8000), 1), (Resources(4, 2200), 2)])
def test_no_more_are_made_than_cpus_and_memory_allow(free: Resources, made: int) -> None:
    assert len(plan({ASKED: 5}, [], free, charge).make) == made


def test_those_nearest_to_be_ready_stay_and_of_these_the_oldest() -> None:
    there = [vm("coming", C), vm("young", W, born=2.0), vm("joining", J), vm("old", W, born=1.0)]
    gone = [vm_id for vm_id, _reason in plan({ASKED: 4}, there, Resources(2, 8000), charge).leave]
    assert gone == ["young", "joining", "coming"]
    assert plan({ASKED: 4}, there, Resources(0, 0), charge).leave[0] == ("old", "jobs need its room")


def test_a_smaller_one_may_stay_where_a_larger_one_has_to_go() -> None:
    there = [vm("large"), vm("small", request=OTHER)]
    todo = plan({ASKED: 1, OTHER: 1}, there, Resources(1, 600), charge)
    assert (todo.make, todo.leave) == ((), (("large", "jobs need its room"),))


def test_what_is_wanted_no_more_goes_and_says_why() -> None:
    todo = plan({ASKED: 1}, [vm("a"), vm("b", born=1.0), vm("c", request=OTHER)], NODE, charge)
    assert dict(todo.leave) == {"b": "no more are wanted", "c": "none is wanted"}


def test_a_vm_kept_for_its_user_is_none_of_those_that_are_wanted_but_needs_room_as_well() -> None:
    kept = vm("kept", user="alice")
    assert plan({ASKED: 1}, [kept], NODE, charge).make == (ASKED,)
    assert plan({}, [kept], NODE, charge).leave == ()
    assert plan({}, [kept], Resources(1, 8000), charge).leave == (("kept", "jobs need its room"),)


def test_one_that_leaves_has_its_room_until_it_is_gone_but_drives_nobody_out() -> None:
    free = Resources(4, 2200)
    assert plan({ASKED: 2}, [vm("leaves", L)], free, charge).make == (ASKED,)
    todo = plan({ASKED: 2}, [vm("leaves", L), vm("a"), vm("b")], free, charge)
    assert (todo.make, todo.leave) == ((), ())


KINDS = st.builds(JobRequest, st.sampled_from("ab"), st.builds(Resources, st.integers(1, 3), st.integers(1, 900)))
VMS = st.builds(
    vm, st.uuids().map(str), st.sampled_from([C, J, W, L]), KINDS, st.floats(0, 9), st.sampled_from(["", "u"])
)


@given(
    st.dictionaries(KINDS, st.integers(0, 4), max_size=4),
    st.lists(VMS, max_size=6),
    st.builds(Resources, st.integers(0, 8), st.integers(0, 4000)),
)
def test_whatever_is_there_the_free_room_is_never_exceeded_and_no_target_either(
    targets: dict[JobRequest, int], there: list[PoolVm], free: Resources
) -> None:
    todo = plan(targets, there, free, charge)
    left = dict(todo.leave)
    stay = [vm for vm in there if vm.id not in left and vm.state is not L]
    needs = [charge(request.resources) for request in (*todo.make, *(vm.request for vm in stay))]
    assert sum(n.cpus for n in needs) <= free.cpus
    assert sum(n.memory_mib for n in needs) <= free.memory_mib
    count = Counter([*todo.make, *(vm.request for vm in stay if not vm.user)])
    assert all(count[request] <= targets.get(request, 0) for request in count)
    assert not set(left) & {vm.id for vm in there if vm.state is L}
    assert plan(targets, stay, free, charge).leave == ()


def test_a_waiting_vm_is_kept_as_it_is_and_moves_only_as_the_table_says() -> None:
    there = replace(vm("x", C), host="vwn-1", digest="d", job="j", uses=2)
    assert decode(PoolVm, encode(there), "VM") == there
    assert there.moved(J, 5.0).since == 5.0
    with pytest.raises(StateError):
        there.moved(W, 5.0)
