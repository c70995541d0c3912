# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tags point to, what they did before, and how each node has them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from ansible_collections.wnodes.farm.plugins.modules import image_tag_info
from tests.releases import MANIFEST, TAG
from tests.unit.plugins.modules.conftest import folder
from tests.unit.plugins.modules.matrix import Call, only_reads
from wnodes.directory.base import Heartbeat
from wnodes.directory.sqlite import SqliteDirectory

OTHER = "other_debian12_x86_64"


def test_the_info_tells_how_each_node_has_each_tag(call: Call, directory: SqliteDirectory, tmp_path: Path) -> None:
    call(path=folder(tmp_path / "a"))
    call(path=folder(tmp_path / "b", replace(MANIFEST, version=2)))
    there = {"tag": TAG, "state": "ready"}
    directory.beat(Heartbeat("hypervisor", "hv1", status={"images": [there, "nonsense"]}))
    directory.beat(Heartbeat("bait", "hv1", status={"images": [there]}))
    (tag,) = call(image_tag_info, tag=TAG, history=True)["tags"]
    assert (tag["version"], tag["nodes"]) == (2, {"hv1": there})
    assert [old["version"] for old in tag["history"]] == [2, 1]
    assert call(image_tag_info, tag=OTHER)["tags"] == []
    assert "history" not in call(image_tag_info)["tags"][0]


def test_it_only_reads(call: Call, directory: SqliteDirectory, tmp_path: Path) -> None:
    call(path=folder(tmp_path / "a"))
    only_reads(partial(call, image_tag_info), directory.tags, [{}, {"tag": TAG, "history": True}])
