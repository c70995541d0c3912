# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node says what it lacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from wnodes.hypervisor.config import HypervisorConfig
from wnodes.hypervisor.node import available_mib, memory_mib, problems
from wnodes.nameserver.config import NameserverAccess


def test_bridge_and_room(tmp_path: Path) -> None:
    config = HypervisorConfig("hv1", NameserverAccess("https://head"), state_dir=str(tmp_path), min_free_mib=0)
    assert problems(config, str(tmp_path)) == "there is no bridge br.default"
    (tmp_path / "br.default").mkdir()
    assert problems(config, str(tmp_path)) == "there is no bridge br.default"
    (tmp_path / "br.default" / "bridge").mkdir()
    assert problems(config, str(tmp_path)) == ""
    assert problems(replace(config, bridge=""), "/nowhere") == ""
    assert "are needed for a VM" in problems(replace(config, bridge="", min_free_mib=1 << 40))
    assert "No such file" in problems(replace(config, bridge="", state_dir=f"{tmp_path}/gone"))


def test_memory(tmp_path: Path) -> None:
    assert memory_mib() > 100
    assert 0 < available_mib() < memory_mib()
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       24689964 kB\nMemFree:         17000000 kB\nMemAvailable:   2097152 kB\n")
    assert available_mib(str(meminfo)) == 2048
    meminfo.write_text("MemTotal:       24689964 kB\n")
    assert available_mib(str(meminfo)) == 0
