# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands, exit codes and tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wnodes.directory.sqlite import SqliteDirectory
from wnodes.model.clock import FakeClock
from wnodes.model.errors import AuthError, UnavailableError
from wnodes_services.cli import main, site

TAG = "worker_debian12_x86_64"
DIGEST = "a" * 64


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
        view = site.View("site", 1000.0, services, JOBS, (VM, {**VM, "state": "GONE"}))
        self._monkeypatch.setattr(site, "look", lambda clock: view)

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self._monkeypatch.setattr(main.sys, "argv", ["wnodes", *arguments])
        with pytest.raises(SystemExit) as caught:
            main.main()
        said = self._capsys.readouterr()
        return caught.value.code or 0, said.out, said.err  # type: ignore[return-value]


@pytest.fixture
def wnodes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def test_status_is_0_when_well_and_1_with_the_problem_when_not(wnodes: Cli) -> None:
    code, out, _err = wnodes("status")
    assert code == 0
    assert f"images: {TAG}" in out
    wnodes.see(WELL, ODD)
    code, out, _err = wnodes("status")
    assert code == 1
    assert "hv1 hypervisor: libvirt: does not answer" in out
    code, out, _err = wnodes("status", "--json")
    assert code == 1
    assert json.loads(out)["ok"] is False


def test_jobs_shows_what_is_under_way_and_all_with_all(wnodes: Cli) -> None:
    _code, out, _err = wnodes("jobs")
    assert "VM_REQUESTED" in out
    assert "FINISHED" not in out
    _code, out, _err = wnodes("jobs", "--all")
    assert "FINISHED" in out
    assert [item["lrms_id"] for item in json.loads(wnodes("jobs", "--json")[1])] == ["7"]
    assert len(json.loads(wnodes("jobs", "--json", "--all")[1])) == 2


def test_vms(wnodes: Cli) -> None:
    assert "vwn-100  READY" in wnodes("vms")[1]
    assert len(json.loads(wnodes("vms", "--json", "--all")[1])) == 2


def test_explain_says_all_that_is_known(wnodes: Cli) -> None:
    code, out, _err = wnodes("explain", "7")
    assert code == 0
    for text in (
        "its VM",
        "[bold]not markup[/bold]",
        "2 CPUs, 512 MiB memory",
        "RECEIVED 5.0, VM_REQUESTED 5.0",
        "hv1",
    ):
        assert text in out
    assert json.loads(wnodes("explain", "r7", "--json")[1])["seconds"] == {"RECEIVED": 5.0, "VM_REQUESTED": 5.0}
    code, _out, err = wnodes("explain", "99")
    assert code == 1
    assert "no bait knows it" in err


def test_explain_tells_of_earlier_attempts(wnodes: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    again = {**job("7", "HELD"), "history": [{"state": "RECEIVED", "at": 998.0}, {"state": "HELD", "at": 999.0}]}
    before = job("7", "CLOSED", outcome="RETURNED", reason="the guest did not answer")
    monkeypatch.setattr(site, "look", lambda clock: site.View("site", 1000.0, (), (before, again), ()))
    assert "on hv1: RETURNED: the guest did not answer" in wnodes("explain", "7")[1]


def manifest(tmp_path: Path, **changes: Any) -> str:
    file = {"path": "vmlinuz", "digest": "b" * 64}
    content = {
        "digest": DIGEST, "format": "qcow2", "virtual_size": 2, "size": 1 << 20, "kernel": file, "initrd": file,
        "disk": {"path": "disk.qcow2"}, "root_device": "/dev/vda", "cmdline": "quiet", "tags": [TAG], **changes,
    }  # fmt: skip
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(content))
    return str(path)


def test_publishing_sets_tags_once(wnodes: Cli, directory: Directory, tmp_path: Path) -> None:
    code, out, _err = wnodes("images", "publish", manifest(tmp_path))
    assert (code, out.strip()) == (0, f"{TAG} → {DIGEST}")
    assert directory.tag(TAG).image.disk.location == str(tmp_path.resolve() / "disk.qcow2")
    assert json.loads(wnodes("images", "publish", manifest(tmp_path), "--json")[1]) == {"changed": False, "tags": []}
    wnodes("images", "publish", manifest(tmp_path), "--tag", "other_debian12_x86_64")
    assert [entry.tag for entry in directory.tags()] == ["other_debian12_x86_64", TAG]
    assert DIGEST[:12] in wnodes("tags")[1]
    assert len(json.loads(wnodes("tags", "--json")[1])) == 2


@pytest.mark.parametrize(("changes", "said"), [({"tags": []}, "give --tag"), ({"extra": 1}, "unknown key")])
def test_a_manifest_that_is_wrong(
    wnodes: Cli, directory: Directory, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    code, _out, err = wnodes("images", "publish", manifest(tmp_path, **changes))
    assert code == 1
    assert said in err
    assert directory.tags() == ()


def test_a_manifest_that_is_not_there(wnodes: Cli, directory: Directory, tmp_path: Path) -> None:
    code, _out, err = wnodes("images", "publish", str(tmp_path / "none"))
    assert code == 1
    assert "cannot be read" in err


def test_leases(wnodes: Cli, directory: Directory) -> None:
    assert "no leases" in wnodes("leases")[1]
    assert json.loads(wnodes("leases", "--json")[1]) == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnavailableError(object="nameserver (/run/x)", reason="does not answer", hint="start it"), 3),
        (AuthError(object="leases", reason="is not allowed"), 1),
    ],
)
def test_exit_codes_of_errors(wnodes: Cli, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int) -> None:
    def fail(clock: Any) -> Any:
        raise error

    monkeypatch.setattr(site, "look", fail)
    found, out, err = wnodes("jobs")
    assert (found, out, err) == (code, "", f"wnodes: {error}\n")


def test_wrong_usage_is_2(wnodes: Cli) -> None:
    assert wnodes("jobs", "--nonsense")[0] == 2
    assert wnodes("nonsense")[0] == 2
