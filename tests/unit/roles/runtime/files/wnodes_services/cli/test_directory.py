# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node is forgotten when it has left, and only then."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.roles.runtime.files.wnodes_services.cli.conftest import WELL, Cli, Directory
from wnodes.directory.base import Heartbeat, HostName, HostNames
from wnodes.directory.sqlite import SqliteDirectory
from wnodes.model.clock import Clock
from wnodes.model.codec import encode
from wnodes.model.errors import UnavailableError
from wnodes.model.lease import NetworkSettings
from wnodes.nameserver.client import NameserverClient
from wnodes_services.cli import directory as commands
from wnodes_services.cli import site

CONFIG = """
state_dir: {state}
pool: {{network: {{prefix: 24}}, ranges: [{{prefix: vm-, first: 1, address: 10.0.0.1, count: 1}}]}}
"""


def test_a_node_that_is_alive_is_not_forgotten_unless_it_was_just_stopped(wnodes: Cli, directory: Directory) -> None:
    directory.beat(Heartbeat("bait", "hv1"))
    code, _out, err = wnodes("forget", "hv1")
    assert code == 1
    assert "node hv1 (bait): was last seen a moment ago" in err
    assert directory.heartbeats() != ()
    code, out, _err = wnodes("forget", "hv1", "--stopped", "--json")
    assert (code, json.loads(out)) == (0, {"host": "hv1", "dropped": ["heartbeat of the bait"]})
    assert directory.heartbeats() == ()


def test_a_node_that_is_silent_is_forgotten(wnodes: Cli, directory: Directory) -> None:
    wnodes.see(replace(WELL, state=site.DOWN), replace(WELL, host="hv2"))
    directory.beat(Heartbeat("bait", "hv1"))
    assert wnodes("forget", "hv1") == (0, "heartbeat of the bait\n", "")
    code, out, err = wnodes("forget", "hv1")
    assert (code, out) == (1, "")
    assert "node hv1: the nameserver knows nothing of it" in err
    code, out, _err = wnodes("forget", "hv1", "--json")
    assert (code, json.loads(out)["dropped"]) == (1, [])


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The file of a stopped nameserver with one name that can be leased."""
    config = tmp_path / "nameserver.yml"
    config.write_text(CONFIG.format(state=tmp_path / "state"))
    monkeypatch.setattr(commands, "CONFIG", str(config))
    monkeypatch.setattr(NameserverClient, "local", Stopped)
    path = str(tmp_path / "state" / "directory.sqlite")
    directory = SqliteDirectory(path, Clock())
    directory.set_host_names(HostNames(NetworkSettings(24), (HostName("vm-1", "52:54:00:00:00:01", "10.0.0.1"),)))
    directory.close()
    return path


class Stopped:
    def status(self) -> None:
        raise UnavailableError(object="nameserver", reason="does not answer")


class Running:
    def status(self) -> None:
        """Answer."""


def test_a_backup_is_put_back_with_the_leases_that_are_held(wnodes: Cli, kept: str, tmp_path: Path) -> None:
    backup, held = tmp_path / "backup", tmp_path / "leases.json"
    assert wnodes("backup", str(backup))[0] == 0
    directory = SqliteDirectory(kept, Clock())
    lease = directory.lease("a", "hv1", 60)
    directory.close()
    held.write_text(json.dumps([encode(lease)]))
    assert wnodes("restore", str(backup), "--leases", str(held))[0] == 0
    (back,) = SqliteDirectory(kept, Clock()).leases()
    assert replace(back, expires=0.0) == replace(lease, expires=0.0)


def test_a_machine_that_is_not_the_head_node_says_so(
    wnodes: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "CONFIG", str(tmp_path / "nameserver.yml"))
    for command in ("backup", "restore"):
        code, _out, err = wnodes(command, str(tmp_path / "file"))
        assert (code, "run this on the head node" in err) == (3, True)


def test_nothing_is_put_under_a_nameserver_that_runs(
    wnodes: Cli, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wnodes("backup", str(tmp_path / "backup"))[0] == 0
    monkeypatch.setattr(NameserverClient, "local", Running)
    code, _out, err = wnodes("restore", str(tmp_path / "backup"))
    assert (code, "systemctl stop wnodes-nameserver" in err) == (1, True)


def test_leases_that_can_not_be_read_change_nothing(wnodes: Cli, kept: str, tmp_path: Path) -> None:
    wnodes("backup", str(tmp_path / "backup"))
    (tmp_path / "leases.json").write_text("[{}]")
    before = Path(kept).read_bytes()
    for file, code in (("leases.json", 1), ("nowhere.json", 2)):
        assert wnodes("restore", str(tmp_path / "backup"), "--leases", str(tmp_path / file))[0] == code
    assert Path(kept).read_bytes() == before
