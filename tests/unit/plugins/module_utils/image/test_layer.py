# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A layer's worker is told what to do on its standard input, and is not believed."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.image.image_fixture import qcow2
from wnodes.image.layer import PYTHON, LayerMaker
from wnodes.image.recipe.operations import Recipe, RemoteSyslog
from wnodes.model.errors import CommandFailed, ImageError
from wnodes.process import Completed

BASE = "/images/disk.qcow2"
RECIPE = Recipe(remote_syslog=RemoteSyslog("10.0.0.1", 5514))


class Machine:
    """Stands in for qemu-img and for the worker, which answers ``said``."""

    def __init__(self, said: str = '{"actions": ["write /etc/x"]}', rc: int = 0, over: str = BASE) -> None:
        self.said, self.rc, self.over = said, rc, over
        self.argv: Sequence[str] = ()
        self.asked = ""

    def run(self, argv: Sequence[str], *, timeout: float, input: str = "", check: bool = True) -> Completed:
        if argv[0] == "qemu-img":
            head = bytearray(qcow2(backing=512))
            struct.pack_into(">I", head, 16, len(self.over))
            head[512 : 512 + len(self.over)] = self.over.encode()
            Path(argv[-1]).write_bytes(head)
            return Completed(argv, 0, "", "")
        self.argv, self.asked = argv, input
        return Completed(argv, self.rc, self.said, "it died")

    def make(self, folder: Path) -> list[str]:
        return LayerMaker(("env", "-i"), run=self.run).make(BASE, "qcow2", RECIPE, str(folder / "layer"), "tcg")


def test_the_worker_gets_layer_recipe_and_accelerator_within_its_sandbox(tmp_path: Path) -> None:
    machine = Machine()
    assert machine.make(tmp_path) == ["write /etc/x"]
    assert list(machine.argv[:4]) == ["env", "-i", PYTHON, "-I"]
    asked = json.loads(machine.asked)
    assert (asked["layer"], asked["accel"]) == (str(tmp_path / "layer"), "tcg")
    assert asked["recipe"]["remote_syslog"] == {"host": "10.0.0.1", "port": 5514, "protocol": "tcp"}


def test_what_the_worker_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    said = json.dumps({"error": "ImageError", "object": "/etc/x", "value": "", "reason": "is a device", "hint": ""})
    with pytest.raises(ImageError, match="/etc/x: is a device"):
        Machine(said, rc=1).make(tmp_path)


def test_a_worker_that_dies_is_a_failure_that_may_pass(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="exit code -9: it died"):
        Machine("", rc=-9).make(tmp_path)


def test_a_layer_that_the_appliance_has_turned_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="must be a layer over"):
        Machine(over="/etc/shadow").make(tmp_path)
