# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that are put back into the queue on a busy node: whatever their owner does, they run on VMs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e import lab

RUNS = "#!/bin/sh\necho $SLURMD_NODENAME >> $HOME/runs.$SLURM_JOB_ID\nsleep 600\n"
#: Slurm's pause after a requeue (cred_expire), our margin, and a VM
BACK_S = 125 + lab.START_S


@contextmanager
def noise(node: str) -> Iterator[None]:
    """Let short jobs of bob's come and go on a node."""
    job = f"sbatch -Q --mem=10 -w {node} -o /dev/null --wrap true"
    unit = ("--unit=e2e-noise", "--collect", "--uid=bob", "-p", "WorkingDirectory=/home/bob")
    lab.ssh("head", "systemd-run", *unit, "sh", "-c", f"while :; do {job}; sleep 0.4; done")
    try:
        yield
    finally:
        lab.ssh("head", "systemctl", "stop", "e2e-noise.service", check=False)


def runs(number: str) -> list[str]:
    return lab.sh("head", f"cat /home/alice/runs.{number} 2>/dev/null; true").split()


@pytest.mark.long
@pytest.mark.every_release
def test_a_job_that_its_owner_puts_back_and_hurries_never_runs_on_the_node_itself() -> None:
    number = lab.submit(RUNS, "-C", lab.FEATURE, "--mem=300", "-w", "hv1")
    lab.in_state(number, "RUNNING")
    lab.until("its first run", lambda: len(runs(number)) == 1, lab.CLEAN_S)
    with noise("hv1"):
        lab.as_user("alice", "scontrol", "requeue", number)
        lab.until("it to be back", lambda: lab.native(number, "Partition") == "main", lab.CLEAN_S)
        lab.as_user("alice", "scontrol", "update", f"JobId={number}", "StartTime=now")
        lab.until("its second run", lambda: len(runs(number)) >= 2 or told_bare(), BACK_S)
    assert all(node.startswith("vwn-") for node in runs(number)) or told_bare()
    lab.as_user("alice", "scancel", number)


def told_bare() -> bool:
    """Return whether the second net has caught it."""
    return "began on the node itself and were stopped" in lab.status_text()
