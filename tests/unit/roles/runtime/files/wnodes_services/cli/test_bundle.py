# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``wnodes support-bundle``: a private file with all that could be had, and why the rest could not."""

from __future__ import annotations

import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles.runtime.files.wnodes_services.cli.conftest import ODD, WELL, Cli, Directory
from wnodes import support
from wnodes.model.errors import UnavailableError
from wnodes_services.cli import bundle, nodes, site


class Service:
    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def bundle(self) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.fixture
def answers(
    wnodes: Cli, directory: Directory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> dict[nodes.NodeService, Any]:
    told: dict[nodes.NodeService, Any] = {
        ("bait", "hv1"): {
            "status.json": "{}",
            "sinfo.txt": "left out: no sinfo\n",
            "../../etc/x": "evil",
            "odd.txt": 1,
        },
        ("hypervisor", "hv1"): {"domains.txt": "none\n"},
        ("bait", "hv2"): {"status.json": "{}"},
    }
    wnodes.see(WELL, replace(ODD), replace(WELL, host="hv2"))
    monkeypatch.setattr(nodes, "client", lambda view, target, limit_s: Service(told[target]))
    monkeypatch.setattr(bundle, "head_parts", lambda directory: {"leases.json": support.data(directory.leases)})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.chdir(tmp_path)
    return told


def contents(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        return {
            member.name.partition("/")[2]: archive.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in archive
        }


def test_the_bundle_is_private_and_has_each_service_s_files(
    wnodes: Cli, answers: dict[nodes.NodeService, Any], tmp_path: Path
) -> None:
    code, out, _err = wnodes("support-bundle", "--json")
    told = json.loads(out)
    path = tmp_path / told["path"]
    assert (code, path.stat().st_mode & 0o777, told["size"]) == (0, 0o600, path.stat().st_size)
    files = contents(path)
    here = f"{site.this_host()}/nameserver/leases.json"
    assert set(files) == {
        "summary.json", "hv1/bait/status.json", "hv1/bait/sinfo.txt", "hv1/hypervisor/domains.txt",
        "hv2/bait/status.json", here,
    }  # fmt: skip
    assert json.loads(files["summary.json"])[0]["left_out"] == ["sinfo.txt"]
    assert files[here] == "[]\n"


def test_a_service_that_can_not_be_reached_is_a_note_and_the_exit_code(
    wnodes: Cli, answers: dict[nodes.NodeService, Any], tmp_path: Path
) -> None:
    answers["bait", "hv2"] = UnavailableError(object="bait of hv2", reason="does not answer")
    code, out, err = wnodes("support-bundle", "--output", str(tmp_path / "b.tar.gz"))
    assert (code, "bait of hv2: does not answer" in err) == (3, True)
    assert str(tmp_path / "b.tar.gz") in out
    assert contents(tmp_path / "b.tar.gz")["hv2/bait/LEFT-OUT.txt"] == "left out: bait of hv2: does not answer\n"


def test_hosts_narrow_it(wnodes: Cli, answers: dict[nodes.NodeService, Any], tmp_path: Path) -> None:
    wnodes("support-bundle", "hv2", "--output", str(tmp_path / "b.tar.gz"))
    assert not any(name.startswith("hv1") for name in contents(tmp_path / "b.tar.gz"))


def test_a_file_that_is_there_is_left_alone(wnodes: Cli, answers: dict[nodes.NodeService, Any], tmp_path: Path) -> None:
    (tmp_path / "b.tar.gz").write_text("precious")
    code, _out, err = wnodes("support-bundle", "--output", str(tmp_path / "b.tar.gz"))
    assert (code, "name a new file with --output" in err) == (2, True)
    assert (tmp_path / "b.tar.gz").read_text() == "precious"


def test_who_is_not_root_is_told_so(
    wnodes: Cli, answers: dict[nodes.NodeService, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert wnodes("support-bundle")[0] == 1
    assert list(tmp_path.iterdir()) == []


def test_a_service_that_tells_too_much_does_not_fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MAX_CHARS", 10)
    assert bundle._kept({"a.txt": "x" * 8, "b.txt": "x" * 8, "c.txt": "xx"}) == {"a.txt": "x" * 8, "c.txt": "xx"}
