# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command line over a directory in memory."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.releases import TAG
from wnodes.directory.sqlite import SqliteDirectory
from wnodes.model.clock import FakeClock
from wnodes_services.cli import main, site


def job(number: str, state: str, **more: Any) -> dict[str, Any]:
    size = {"cpus": 2, "memory_mib": 512, "scratch_mib": 100}
    history = [{"state": "RECEIVED", "at": 990.0}, {"state": state, "at": 995.0}]
    return {
        "id": f"r{number}", "lrms_id": number, "user": "alice", "uid": 2001, "state": state, "history": history,
        "request": {"tag": TAG, "resources": size, "mounts": []}, "attempt": 1, "host": "vwn-100",
        "address": "10.0.0.1", "exit_code": None, "reason": "", "outcome": None, "waits_for": "its VM", "bait": "hv1",
        "error": "", **more,
    }  # fmt: skip


VM = {
    "request": {"id": "r7", "owner": "alice", "tag": TAG, "resources": {"cpus": 1, "memory_mib": 512}},
    "state": "READY", "history": [{"state": "READY", "at": 999.0}], "lease": {"name": "vwn-100", "address": "10.0.0.1"},
    "hypervisor": "hv1", "reason": "",
}  # fmt: skip
JOBS = (
    job("7", "VM_REQUESTED", reason="[bold]not markup[/bold]"),
    job("8", "CLOSED", outcome="FINISHED", exit_code=3, waits_for="it has ended"),
)
WELL = site.Service("bait", "hv1", site.OK, (), 2.0, {"tags": [TAG]})
ODD = site.Service("hypervisor", "hv1", site.PROBLEM, ("libvirt: does not answer",), 0.0, {"accel": ""})


class Directory(SqliteDirectory):
    def status(self) -> dict[str, Any]:
        return {"now": self._clock.now()}


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> Directory:
    made = Directory(":memory:", FakeClock())
    monkeypatch.setattr(site, "nameserver", lambda: made)
    return made


class Cli:
    """Runs ``wnodes …``; returns exit code, output and errors."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        self.see(WELL)

    def see(self, *services: site.Service) -> None:
        view = site.SiteView("site", 1000.0, services, JOBS, (VM, {**VM, "state": "GONE"}))
        self._monkeypatch.setattr(site, "look", lambda clock: view)

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["wnodes", *arguments])
        with pytest.raises(SystemExit) as caught:
            main.main()
        said = self._capsys.readouterr()
        return int(caught.value.code or 0), said.out, said.err


@pytest.fixture
def wnodes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)
