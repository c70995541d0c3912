# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hook's emergency with real processes: however slow Slurm's commands are, it ends in time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from wnodes.hook import emergency

ROW = "\x1f".join(("7", "7", "RUNNING", "hv1", "1", "0", "N/A", ""))
#: written down with the environment's names, then slow, then true
TOOL = """#!/bin/sh
echo "${0##*/} $*" >> LOG
{ env | sed 's/=.*//'; } >> NAMES
sleep SECONDS
case $0 in
    */squeue) printf '%s\\n' 'ROW' ;;
esac
case $* in
    'show -o node hv1') echo 'NodeName=hv1 State=MIXED Reason=x' ;;
esac
"""


class Tools:
    """Stand-ins for Slurm's commands, each of which takes its time, and what they were told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log, self.names = folder, folder / "log", folder / "names"
        self.adopt = folder / "adopt"

    def take(self, seconds: float) -> None:
        """Let each command take ``seconds``; a shell waits for a process of its own, as in a site's wrapper."""
        values = {"LOG": self.log, "NAMES": self.names, "SECONDS": seconds, "ROW": ROW}
        text = TOOL
        for name, value in values.items():
            text = text.replace(name, str(value))
        for name in ("squeue", "scontrol"):
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o755)

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    made = Tools(tmp_path)
    monkeypatch.setattr(emergency, "TOOL_DIRS", (str(tmp_path),))
    monkeypatch.setattr(emergency, "ADOPT_DIR", str(made.adopt))
    return made


def test_a_slow_slurm_has_time_for_all_of_it(tools: Tools) -> None:
    tools.take(0.2)
    assert emergency.put_back("7", "hv1")
    assert tools.calls()[1:] == [
        "scontrol update JobId=7 Requeue=1",
        "scontrol requeuehold 7",
        "scontrol show -o node hv1",
        f"scontrol update NodeName=hv1 State=DRAIN Reason={emergency.CLOSED}",
    ]
    assert (tools.adopt / "7").read_text() == "Requeue=0\n"


def test_a_slurm_that_hangs_is_given_up_in_time(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    tools.take(20)
    for name, limit_s in (("LIMIT_S", 2.0), ("CALL_LIMIT_S", 0.7), ("RESERVE_S", 0.5)):
        monkeypatch.setattr(emergency, name, limit_s)
    begun = time.monotonic()
    assert not emergency.put_back("7", "hv1")
    assert time.monotonic() - begun < 10  # of a busy machine; each command alone would take 20
    assert (tools.adopt / "7").read_text() == "Failed=1\n"


def test_nothing_of_a_user_s_is_in_the_commands_environment(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    tools.take(0)
    for name in ("SPANK_X", "SLURM_JOB_COMMENT", "PYTHONPATH", "LC_ALL", "BASH_ENV", "SQUEUE_FORMAT", "SLURM_CLUSTERS"):
        monkeypatch.setenv(name, "/tmp/evil\n\udcff")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    assert emergency.put_back("7", "hv1")
    assert set(tools.names.read_text().split()) <= {"PATH", "SLURM_CONF", "PWD", "_", "SHLVL", "OLDPWD"}
