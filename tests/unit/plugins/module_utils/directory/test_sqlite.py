# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases never have two holders and never leak; tags, configuration and heartbeats are what was written last."""

from __future__ import annotations

import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from tests.releases import MANIFEST, RELEASE, TAG, release
from wnodes.directory.base import Heartbeat, HostName, HostNames
from wnodes.directory.sqlite import SqliteDirectory
from wnodes.model.clock import FakeClock
from wnodes.model.errors import DirectoryError, NotFoundError, RequestError, StateError
from wnodes.model.image import Release, Rollout
from wnodes.model.lease import Lease, NetworkSettings

NETWORK = NetworkSettings(24, "10.0.0.1")


def pool(count: int, first: int = 0) -> HostNames:
    numbers = range(first, first + count)
    return HostNames(NETWORK, tuple(HostName(f"vm-{n}", f"52:54:00:00:00:{n:02x}", f"10.0.0.{n}") for n in numbers))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def directory(clock: FakeClock) -> SqliteDirectory:
    made = SqliteDirectory(":memory:", clock)
    made.set_host_names(pool(2))
    return made


def test_a_lease_is_a_free_name_with_its_network(directory: SqliteDirectory, clock: FakeClock) -> None:
    lease = directory.lease("a", "hv1", 60)
    assert lease == Lease("vm-0", "52:54:00:00:00:00", "10.0.0.0", NETWORK, "a", "hv1", 1, clock.now() + 60)
    assert directory.leases() == (lease,)


def test_leasing_again_renews(directory: SqliteDirectory, clock: FakeClock) -> None:
    first = directory.lease("a", "hv1", 60)
    clock.advance(30)
    again = directory.lease("a", "hv1", 60)
    assert (again.name, again.epoch, again.expires) == (first.name, first.epoch, clock.now() + 60)
    assert len(directory.leases()) == 1


def test_a_running_lease_belongs_to_its_owner(directory: SqliteDirectory, clock: FakeClock) -> None:
    directory.lease("a", "hv1", 60)
    with pytest.raises(StateError, match="belongs to hv1"):
        directory.lease("a", "hv2", 60)
    clock.advance(61)
    assert directory.lease("a", "hv2", 60).owner == "hv2"


def test_when_none_is_free_the_error_says_how_many_there_are(directory: SqliteDirectory) -> None:
    directory.lease("a", "hv1", 60)
    directory.lease("b", "hv1", 60)
    with pytest.raises(DirectoryError, match="none of the 2 host names"):
        directory.lease("c", "hv1", 60)


def test_names_are_used_again_as_late_as_possible(directory: SqliteDirectory) -> None:
    first = directory.lease("a", "hv1", 60)
    assert directory.release("a", first.epoch)
    assert directory.lease("b", "hv1", 60).name == "vm-1"


def test_only_the_epoch_that_was_leased_can_release(directory: SqliteDirectory) -> None:
    lease = directory.lease("a", "hv1", 60)
    assert not directory.release("a", lease.epoch + 1)
    assert not directory.release("b", lease.epoch)
    assert directory.release("a", lease.epoch)
    assert not directory.release("a", lease.epoch)


def test_the_epoch_rises_with_each_holder(directory: SqliteDirectory) -> None:
    directory.set_host_names(pool(1))
    epochs = []
    for holder in "abc":
        epochs.append(directory.lease(holder, "hv1", 60).epoch)
        directory.release(holder, epochs[-1])
    assert epochs == [1, 2, 3]


def test_what_ran_out_can_be_renewed_until_somebody_else_has_it(directory: SqliteDirectory, clock: FakeClock) -> None:
    directory.set_host_names(pool(1))
    lease = directory.lease("a", "hv1", 60)
    clock.advance(61)
    assert directory.leases() == ()
    (back,) = directory.renew("hv1", ("a",), 60)
    assert (back.name, back.epoch) == (lease.name, lease.epoch)
    clock.advance(61)
    taken = directory.lease("b", "hv2", 60)
    assert (taken.name, taken.epoch) == (lease.name, lease.epoch + 1)
    assert directory.renew("hv1", ("a",), 60) == ()
    assert not directory.release("a", lease.epoch)


def test_a_name_that_is_liked_best_is_given_where_it_is_free(directory: SqliteDirectory) -> None:
    directory.set_host_names(pool(4))
    assert directory.lease("a", "hv1", 60, "vm-2").name == "vm-2"
    assert directory.lease("b", "hv1", 60, "vm-2").name != "vm-2"
    assert directory.lease("c", "hv1", 60, "nowhere").name != "vm-2"
    assert directory.lease("a", "hv1", 60, "vm-1").name == "vm-2", "who holds one keeps it"


def test_only_the_owner_renews(directory: SqliteDirectory) -> None:
    directory.lease("a", "hv1", 60)
    assert directory.renew("hv2", ("a",), 60) == ()


def test_a_name_that_is_no_longer_listed_runs_out_by_itself(directory: SqliteDirectory, clock: FakeClock) -> None:
    lease = directory.lease("a", "hv1", 60)
    directory.set_host_names(pool(1, first=7))
    assert directory.leases() == (lease,)
    directory.release("a", lease.epoch)
    assert directory.lease("b", "hv1", 60).name == "vm-7"


def test_an_address_moves_to_another_name_only_when_it_is_free(directory: SqliteDirectory) -> None:
    lease = directory.lease("a", "hv1", 60)
    directory.set_host_names(HostNames(NETWORK, (HostName("renamed", lease.mac, lease.address),)))
    with pytest.raises(DirectoryError):
        directory.lease("b", "hv1", 60)


def test_everything_but_heartbeats_survives_a_restart(tmp_path: Path, clock: FakeClock) -> None:
    path = str(tmp_path / "state" / "directory.sqlite")
    directory = SqliteDirectory(path, clock)
    directory.set_host_names(pool(2))
    lease = directory.lease("a", "hv1", 60)
    (entry,) = directory.set_tags((TAG,), RELEASE)
    directory.set_config("bait/hv1", {"open": False})
    directory.close()
    again = SqliteDirectory(path, clock)
    assert again.leases() == (lease,)
    assert again.tags() == (entry,)
    assert again.config("bait/hv1") == {"open": False}
    assert (tmp_path / "state" / "directory.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_directory_that_can_not_be_opened_says_so(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DirectoryError, match="cannot be opened"):
        SqliteDirectory(str(tmp_path / "file" / "directory.sqlite"), clock)


def version(number: int) -> Release:
    return release(replace(MANIFEST, version=number))


def test_tags_point_to_releases(directory: SqliteDirectory, clock: FakeClock) -> None:
    (entry,) = directory.set_tags((TAG,), RELEASE)
    assert entry.updated == clock.now()
    assert directory.tag(TAG) == entry
    assert directory.remove_tag(TAG)
    assert not directory.remove_tag(TAG)
    with pytest.raises(NotFoundError, match="there are: none"):
        directory.tag(TAG)
    with pytest.raises(RequestError, match="not of the form"):
        directory.set_tags(("nonsense",), RELEASE)


def test_several_tags_switch_together_or_not_at_all(directory: SqliteDirectory) -> None:
    other = "other_debian12_x86_64"
    directory.set_tags((other,), version(3))
    with pytest.raises(StateError, match="older than version 3"):
        directory.set_tags((TAG, other), version(2))
    assert [entry.tag for entry in directory.tags()] == [other]
    directory.set_tags((TAG, other), version(4))
    assert [entry.release for entry in directory.tags()] == [version(4), version(4)]


def test_the_history_of_a_tag_has_each_release_once_and_outlives_it(
    directory: SqliteDirectory, clock: FakeClock
) -> None:
    for number in (1, 2, 2):
        directory.set_tags((TAG,), version(number))
        clock.advance(5)
    directory.remove_tag(TAG)
    assert [entry.release for entry in directory.history(TAG)] == [version(2), version(1)]
    assert directory.history("other_debian12_x86_64") == ()


def test_a_rollout_is_for_its_hosts_until_the_tag_is_switched_for_all(directory: SqliteDirectory) -> None:
    directory.set_tags((TAG,), version(1))
    entry = directory.roll_out(TAG, Rollout(version(2), ("hv2",)))
    assert directory.tag(TAG) == entry
    assert (entry.release_for("hv1"), entry.release_for("hv2")) == (version(1), version(2))
    directory.set_tags((TAG,), version(2))
    assert directory.tag(TAG).rollout is None
    assert [old.release for old in directory.history(TAG)] == [version(2), version(1)]
    with pytest.raises(NotFoundError):
        directory.roll_out("other_debian12_x86_64", None)


def test_configuration_of_a_scope_is_replaced(directory: SqliteDirectory) -> None:
    assert directory.config("site") == {}
    directory.set_config("site", {"a": 1})
    directory.set_config("site", {"b": [2]})
    assert directory.config("site") == {"b": [2]}


def test_the_last_heartbeat_of_each_role_and_host_is_kept(directory: SqliteDirectory, clock: FakeClock) -> None:
    directory.beat(Heartbeat("bait", "hv1", status={"ok": False}))
    directory.beat(Heartbeat("hypervisor", "hv1"))
    clock.advance(5)
    directory.beat(Heartbeat("bait", "hv1", at=1.0, status={"ok": True}))
    bait, hypervisor = directory.heartbeats()
    assert bait == Heartbeat("bait", "hv1", clock.now(), {"ok": True})
    assert hypervisor.at == clock.now() - 5


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_step_of_the_clock_ends_no_lease_and_keeps_none(
    directory: SqliteDirectory, clock: FakeClock, hours: int
) -> None:
    directory.set_host_names(pool(1))
    directory.lease("a", "hv1", 60)
    clock.step(hours * 3600)
    clock.advance(59)
    with pytest.raises(DirectoryError):
        directory.lease("b", "hv2", 60)
    clock.advance(1)
    assert directory.lease("b", "hv2", 60).name == "vm-0"


def reopened(tmp_path: Path, clock: FakeClock) -> SqliteDirectory:
    made = SqliteDirectory(str(tmp_path / "directory.db"), clock)
    made.set_host_names(pool(1))
    return made


@pytest.mark.parametrize("away", [-5 * 3600, 5 * 3600])
def test_after_a_start_names_are_kept_for_their_holders_for_as_long_as_a_lease_lasts(tmp_path: Path, away: int) -> None:
    clock = FakeClock()
    first = reopened(tmp_path, clock)
    held = first.lease("a", "hv1", 60)
    first.close()
    clock = FakeClock(clock.wall() + away)
    second = reopened(tmp_path, clock)
    clock.advance(59)
    with pytest.raises(DirectoryError, match="none of the 1 host names of the pool is free; for 1 s after"):
        second.lease("b", "hv2", 60)
    with pytest.raises(StateError, match="belongs to hv1"):
        second.lease("a", "hv2", 60)
    (back,) = second.renew("hv1", ("a",), 60)
    assert (back.name, back.epoch) == (held.name, held.epoch)
    clock.advance(61)
    assert second.lease("b", "hv2", 60).epoch == held.epoch + 1


def test_names_that_nobody_had_are_given_right_after_a_start(tmp_path: Path) -> None:
    first = reopened(tmp_path, FakeClock())
    first.release("a", first.lease("a", "hv1", 60).epoch)
    first.close()
    assert reopened(tmp_path, FakeClock()).lease("b", "hv2", 60).name == "vm-0"


def test_leases_of_a_version_that_noted_no_term_are_kept_for_two_minutes(tmp_path: Path) -> None:
    clock = FakeClock()
    first = reopened(tmp_path, clock)
    first.lease("a", "hv1", 60)
    first.close()
    with sqlite3.connect(tmp_path / "directory.db") as db:
        db.execute("DROP TABLE term")
    second = reopened(tmp_path, clock)
    clock.advance(119)
    with pytest.raises(DirectoryError):
        second.lease("b", "hv2", 60)
    clock.advance(1)
    second.lease("b", "hv2", 60)


class Leases(RuleBasedStateMachine):
    """Any order of leasing, renewing, releasing and waiting, against what the callers were promised."""

    TTL_S = 10.0
    SIZE = 3
    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.directory = SqliteDirectory(":memory:", self.clock)
        self.directory.set_host_names(pool(self.SIZE))
        self.promised: dict[str, Lease] = {}
        self.epochs: dict[str, tuple[int, str]] = {}

    def _running(self) -> dict[str, Lease]:
        return {key: lease for key, lease in self.promised.items() if lease.expires > self.clock.now()}

    @rule(target=held, holder=st.sampled_from("abcdef"))
    def lease(self, holder: str) -> str:
        before = self._running()
        try:
            lease = self.directory.lease(holder, "hv1", self.TTL_S)
        except DirectoryError:
            assert len(before) == self.SIZE
            assert holder not in before
            return holder
        others = {key: other for key, other in before.items() if key != holder}
        assert lease.name not in {other.name for other in others.values()}
        epoch, known = self.epochs.get(lease.name, (0, ""))
        assert lease.epoch >= epoch
        assert known in ("", holder) or lease.epoch > epoch
        self.epochs[lease.name] = (lease.epoch, holder)
        self.promised[holder] = lease
        return holder

    @rule(holder=held)
    def renew(self, holder: str) -> None:
        renewed = self.directory.renew("hv1", (holder,), self.TTL_S)
        assert holder not in self._running() or renewed
        for lease in renewed:
            assert lease.epoch == self.promised[holder].epoch
            self.promised[holder] = lease

    @rule(holder=consumes(held))
    def release(self, holder: str) -> None:
        if holder in self.promised:
            running = holder in self._running()
            released = self.directory.release(holder, self.promised.pop(holder).epoch)
            assert released or not running

    @rule(seconds=st.sampled_from([1.0, 4.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def one_holder_a_name(self) -> None:
        leases = self.directory.leases()
        for key in ("name", "mac", "address", "holder"):
            assert len({getattr(lease, key) for lease in leases}) == len(leases)
        assert {lease.holder: lease for lease in leases} == self._running()

    def teardown(self) -> None:
        for lease in self.directory.leases():
            assert self.directory.release(lease.holder, lease.epoch)
        assert self.directory.leases() == ()
        names = {self.directory.lease(f"last-{number}", "hv1", self.TTL_S).name for number in range(self.SIZE)}
        assert len(names) == self.SIZE
        self.directory.close()


class Restarts(RuleBasedStateMachine):
    """The nameserver's clock is set at any time, it is away for any time, and holders renew whenever it is there.

    A holder is alive for as long as a lease lasts since it was heard of, or since the nameserver came back.
    """

    TTL_S = 60.0
    SIZE = 3
    holders = st.sampled_from("abcdef")
    steps = st.sampled_from([-7200.0, -61.0, -1.0, 1.0, 61.0, 7200.0])

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.passed = self.back = 0.0
        self.names: dict[str, tuple[str, float]] = {}
        self.open()

    def open(self) -> None:
        self.directory = SqliteDirectory(f"{self.folder.name}/directory.db", self.clock)
        self.directory.set_host_names(pool(self.SIZE))

    def alive(self, name: str) -> bool:
        _holder, heard = self.names[name]
        return self.passed - max(heard, self.back) < self.TTL_S

    @rule(holder=holders)
    def lease(self, holder: str) -> None:
        try:
            lease = self.directory.lease(holder, "hv1", self.TTL_S)
        except DirectoryError:
            # nothing is kept for longer than it must be, either
            assert len([name for name in self.names if self.alive(name)]) == self.SIZE
            return
        before = self.names.get(lease.name, (holder, 0.0))[0]
        assert before == holder or not self.alive(lease.name)
        self.names[lease.name] = holder, self.passed

    @rule(holder=holders)
    def renew(self, holder: str) -> None:
        held = [name for name, (who, _heard) in self.names.items() if who == holder]
        renewed = [lease.name for lease in self.directory.renew("hv1", (holder,), self.TTL_S)]
        assert renewed == held
        self.names.update(dict.fromkeys(renewed, (holder, self.passed)))

    @rule(seconds=st.sampled_from([1.0, 29.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.passed += seconds

    @rule(seconds=steps)
    def set_the_clock(self, seconds: float) -> None:
        self.clock.step(seconds)

    @rule(seconds=steps, away=st.sampled_from([0.5, 300.0]))
    def restart(self, seconds: float, away: float) -> None:
        self.directory.close()
        self.clock = FakeClock(self.clock.wall() + away + seconds)
        self.passed += away
        self.back = self.passed
        self.open()

    def teardown(self) -> None:
        self.directory.close()
        self.folder.cleanup()


TestRestarts = Restarts.TestCase
TestRestarts.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
