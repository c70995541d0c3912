# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The roll-out itself: it changes nothing the second time, and it refuses what can't work."""

from __future__ import annotations

import re

from tests.e2e import lab
from tests.e2e.lab import REPO


def test_a_second_run_of_site_changes_nothing() -> None:
    done = lab.ansible("ansible-playbook", str(REPO / "playbooks/site.yml"))
    assert done.returncode == 0, done.stdout
    assert re.findall(r"changed=(\d+)", done.stdout) == ["0"] * 3, done.stdout


def test_a_service_with_an_unknown_key_does_not_start_and_says_file_key_and_what_is_known() -> None:
    path = "/etc/wnodes/bait.yml"
    try:
        lab.sh("hv2", f"cp -p {path} {path}.e2e && echo 'colour: red' >> {path}")
        lab.ssh("hv2", "systemctl", "restart", "wnodes-bait", check=False)
        said = lab.ssh("hv2", "journalctl", "-u", "wnodes-bait", "-n", "5", "-o", "cat", "--no-pager")
    finally:
        lab.sh("hv2", f"mv {path}.e2e {path}; systemctl reset-failed wnodes-bait; systemctl start wnodes-bait")
    assert f"{path}: colour" in said
    assert "unknown key" in said
    assert "known keys: host" in said
