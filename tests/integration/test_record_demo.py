# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tool that records the demo runs commands in a terminal of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.documents import ROOT

TOOL = [sys.executable, str(ROOT / "tools" / "record-demo")]


def test_a_command_is_recorded_as_a_terminal_shows_it(tmp_path: Path) -> None:
    said = "test -t 1 && printf 'half\\rwhole\\n' && tput cols"
    subprocess.run([*TOOL, "--to", tmp_path / "demo", "--width", "77", "--", "sh", "-c", said], check=True)
    assert (tmp_path / "demo.txt").read_text().splitlines()[1:] == ["whole", "77"]
    assert "whole" in (tmp_path / "demo.svg").read_text()


def test_a_command_that_fails_changes_nothing(tmp_path: Path) -> None:
    done = subprocess.run([*TOOL, "--to", tmp_path / "demo", "--", "sh", "-c", "echo no; exit 3"], check=False)
    assert (done.returncode, list(tmp_path.iterdir())) == (3, [])
