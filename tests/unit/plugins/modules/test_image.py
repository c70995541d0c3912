# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module: change, nothing to change, refuse × check mode × repeated, with diff; and its specification."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils import basic

from ansible_collections.wnodes.farm.plugins.modules import image as module_under_test
from tests.unit.plugins.module_utils.image.image_fixture import engine, image, qcow2
from tests.unit.plugins.modules.matrix import Answer, Call, Step, run, walk
from wnodes.image.recipe.fake import FakeHandle
from wnodes.image.recipe.spec import RECIPE_SPEC
from wnodes.image.recipe.view import File

EVERYTHING: dict[str, Any] = {
    "files": [{"path": "/etc/motd", "content": "hello\n"}],
    "edits": [{"path": "/etc/nsswitch.conf", "regexp": "^passwd:", "line": "passwd: files extrausers"}],
    "commands": [{"argv": ["true"], "creates": "/etc/motd"}],
    "packages": ["apt"],
    "kernel_modules": {"load": ["tun"], "options": {"tun": "a=1"}},
    "remote_syslog": {"host": "logs.example.org"},
    "ssh_keys": [{"user": "root", "keys": ["ssh-ed25519 AAAA me"]}],
    "units": {"enable": ["munge.service"], "mask": ["a.timer"]},
    "delete": ["/root/keep"],
    "groups": [{"name": "atlas", "gid": 5000}],
    "users": [{"name": "alice"}],
    "timezone": "Europe/Rome",
    "dns": {"servers": ["192.0.2.53"], "search": ["example.org"]},
    "scripts": [{"name": "site", "content": "#!/bin/sh\n"}],
    "packages_absent": ["absent"],
}


@pytest.fixture
def handle() -> FakeHandle:
    return image()


@pytest.fixture
def module(
    handle: FakeHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    (tmp_path / "image").write_bytes(qcow2())
    monkeypatch.setattr(module_under_test, "engine", lambda accel, folder: engine(handle))

    def call(**options: Any) -> Answer:
        return run(module_under_test, capsys, **{"path": str(tmp_path / "image"), **options})

    return call


@pytest.mark.parametrize("option", [*EVERYTHING, "all"])
def test_check_mode_foretells_then_it_is_done_then_nothing_is_left(
    module: Call, handle: FakeHandle, option: str
) -> None:
    options = EVERYTHING if option == "all" else {option: EVERYTHING[option]}
    before = dict(handle.tree)
    foretold = module(check=True, **options)
    assert handle.tree == before
    assert foretold["changed"] is (option not in ("packages", "packages_absent"))

    done = module(**options)
    assert {key: done[key] for key in ("changed", "actions", "diff")} == {
        key: foretold[key] for key in ("changed", "actions", "diff")
    }
    for check in (True, False) if option != "commands" else ():
        again = module(check=check, **options)
        assert not again["changed"]
        assert again["actions"] == again["diff"] == []


def test_create_change_and_delete_are_foretold_done_once_and_shown(module: Call, handle: FakeHandle) -> None:
    steps = [
        Step("create", {"files": [{"path": "/etc/motd", "content": "hello\n"}], "groups": [{"name": "atlas"}]}),
        Step("change", {"files": [{"path": "/etc/motd", "content": "good bye\n", "mode": "0600"}]}),
        Step("delete", {"delete": ["/etc/motd"]}),
    ]
    walk(module, lambda: dict(handle.tree), steps)


def test_publication_is_part_of_the_result(module: Call, tmp_path: Path) -> None:
    options = {"publish_to": str(tmp_path / "images"), "tags": ["worker_debian12_x86_64"], "cmdline": "quiet"}
    assert module(check=True, **options)["changed"]
    done = module(**options)
    assert done["changed"]
    assert done["published"]["manifest"]["cmdline"] == "quiet root=/dev/vda"
    assert json.loads((Path(done["published"]["path"]) / "manifest.json").read_text()) == done["published"]["manifest"]
    assert not module(**options)["changed"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": "/absent/image"}, "name a base"),
        ({"format": "raw"}, "labelled raw"),
        ({"format": "vmdk"}, "qcow2, raw"),
        ({"files": [{"path": "relative", "content": ""}]}, "not a path inside the image"),
        ({"files": [{"path": "/a"}]}, "content, source"),
        ({"files": [{"path": "/a", "content": "", "source": "/b"}]}, "mutually exclusive"),
        ({"edits": [{"path": "/etc/passwd", "regexp": "a"}]}, "line, replacement"),
        ({"commands": [{}]}, "argv or shell"),
        ({"packages": ["new"]}, "network: true"),
        ({"upgrade": True}, "network: true"),
        ({"timezone": "Europe/Nowhere"}, "zoneinfo"),
        ({"dns": {"servers": ["ns.example.org"]}}, "IP address"),
        ({"units": {"enable": ["absent.service"]}}, "not in the image"),
        ({"publish_to": "/nowhere", "tags": ["x"]}, "<name>_<os>_<arch>"),
    ],
)
def test_refusals_say_what_and_why(module: Call, options: dict[str, Any], said: str) -> None:
    answer = module(**options)
    assert answer["failed"]
    assert said in answer["msg"]


def test_a_failure_comes_in_parts_too(module: Call, handle: FakeHandle) -> None:
    handle.put("/etc/munge/munge.key", File(b"x", 0o400))
    answer = module(publish_to="/nowhere", tags=["worker_debian12_x86_64"])
    assert answer["error"]["error"] == "ImageError"
    assert "munge.key" in answer["error"]["value"]


def test_specification_and_documentation_agree() -> None:
    documented = yaml.safe_load(module_under_test.DOCUMENTATION)
    assert "wnodes.farm.recipe" in documented["extends_documentation_fragment"]
    own = {name: spec for name, spec in module_under_test.ARGUMENT_SPEC.items() if name not in RECIPE_SPEC}
    assert {name: spec.get("default") for name, spec in own.items()} == {
        name: option.get("default") for name, option in documented["options"].items()
    }


def test_check_mode_is_supported() -> None:
    assert basic.AnsibleModule is module_under_test.AnsibleModule
