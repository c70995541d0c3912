# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make demo`` as its reader runs it."""

from __future__ import annotations

import subprocess

import pytest

from tests.e2e.lab import REPO


@pytest.mark.every_release
def test_the_demo_ends_with_demo_ok() -> None:
    done = subprocess.run(
        [str(REPO / ".venv/bin/python"), str(REPO / "tools/demo")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "DEMO OK"), done.stdout + done.stderr
