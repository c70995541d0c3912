# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup is the directory at one moment; what comes back gives no number twice and takes no VM its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.releases import RELEASE, TAG
from wnodes.directory.base import HostName, HostNames
from wnodes.directory.sqlite import SqliteDirectory
from wnodes.directory.sqlite_copy import EPOCHS, load, save
from wnodes.model.clock import FakeClock
from wnodes.model.errors import RequestError
from wnodes.model.lease import NetworkSettings

NAMES = tuple(HostName(f"vm-{n}", f"52:54:00:00:00:0{n}", f"10.0.0.{n}") for n in (1, 2, 3))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path, clock: FakeClock) -> str:
    """A directory with a pool, a tag and a lease of vm-1."""
    path = str(tmp_path / "state" / "directory.sqlite")
    directory = SqliteDirectory(path, clock)
    directory.set_host_names(HostNames(NetworkSettings(24), NAMES))
    directory.set_tags((TAG,), RELEASE)
    directory.lease("a", "hv1", 60)
    directory.close()
    return path


def test_a_backup_of_a_directory_in_use_comes_back_whole(tmp_path: Path, path: str, clock: FakeClock) -> None:
    used, backup = SqliteDirectory(path, clock), tmp_path / "backup"
    save(path, str(backup))
    assert backup.stat().st_mode & 0o777 == 0o600
    before = used.tags(), used.leases()
    used.remove_tag(TAG)
    used.close()
    load(str(backup), path, (), clock.now())
    assert {file.name for file in tmp_path.rglob("*") if file.is_file()} == {"backup", "directory.sqlite"}
    back = SqliteDirectory(path, clock)
    assert (back.tags(), back.leases()) == before
    assert Path(path).stat().st_mode & 0o777 == 0o600


def test_a_vm_made_since_the_backup_keeps_its_name_and_epochs_are_not_given_twice(
    tmp_path: Path, path: str, clock: FakeClock
) -> None:
    backup = str(tmp_path / "backup")
    save(path, backup)
    used = SqliteDirectory(path, clock)
    (first,) = used.leases()
    used.release("a", first.epoch)
    now = used.lease("b", "hv2", 60), used.lease("c", "hv2", 60), used.lease("d", "hv2", 60)
    assert sorted(lease.name for lease in now) == ["vm-1", "vm-2", "vm-3"]
    used.close()
    load(backup, path, now, clock.now())
    back = SqliteDirectory(path, clock)
    assert back.renew("hv1", ("a",), 60) == ()
    assert {(lease.holder, lease.name, lease.epoch) for lease in back.renew("hv2", ("b", "c", "d"), 60)} == {
        (lease.holder, lease.name, lease.epoch) for lease in now
    }
    for lease in now:
        back.release(lease.holder, lease.epoch)
    assert all(back.lease(holder, "hv1", 60).epoch > EPOCHS for holder in "efg")


def test_what_is_no_backup_is_refused_and_changes_nothing(tmp_path: Path, path: str, clock: FakeClock) -> None:
    before = Path(path).read_bytes()
    (tmp_path / "text").write_text("not a database, but long enough to be looked at" * 9)
    with pytest.raises(RequestError, match="not a database"):
        load(str(tmp_path / "text"), path, (), clock.now())
    save_of_nothing = tmp_path / "empty"
    save_of_nothing.write_bytes(b"")
    with pytest.raises(RequestError, match="no backup of a directory"):
        load(str(save_of_nothing), path, (), clock.now())
    with pytest.raises(RequestError, match="unable to open"):
        load(str(tmp_path / "nowhere"), path, (), clock.now())
    assert Path(path).read_bytes() == before


def test_a_backup_is_never_written_over_another(tmp_path: Path, path: str) -> None:
    (tmp_path / "backup").write_text("precious")
    with pytest.raises(RequestError, match="File exists"):
        save(path, str(tmp_path / "backup"))
    assert (tmp_path / "backup").read_text() == "precious"
