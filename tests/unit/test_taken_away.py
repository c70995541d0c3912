# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles take away is what the services write."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from wnodes.bait import statics
from wnodes.lrms.slurm_commands import SlurmConfig

ROOT = Path(__file__).resolve().parents[2]
VARS = yaml.safe_load((ROOT / "roles/runtime/vars/main.yml").read_text())["__runtime_state"]
#: ``os.path.join(config.state_dir, "templates")``, and the names that one line joins to it one after the other
JOINED = re.compile(r'(?<!_)state_dir, "([\w.]+)"')
LISTED = re.compile(r"state_dir, name\) for name in \(([^)]*)\)")


def test_all_that_services_write_below_their_state_directory_goes_with_them() -> None:
    sources = [*(ROOT / "plugins/module_utils").rglob("*.py"), *(ROOT / "roles/runtime/files").rglob("*.py")]
    written = {statics.FILE, Path(SlurmConfig("any").adopt_dir).name}
    for source in sources:
        if source.parent.name != "doctor":  # it only looks
            text = source.read_text()
            written |= {*JOINED.findall(text), *re.findall(r"\w+", " ".join(LISTED.findall(text)))}
    assert {"bait", "hypervisor", "trash", "vms", "images"} <= written
    # the directory's file is in nameserver/ itself
    gone = set(re.findall(r"[\w.]+", f"{VARS['hypervisor']} {VARS['bait']}")) | {"directory.sqlite"}
    assert written - gone == set()
