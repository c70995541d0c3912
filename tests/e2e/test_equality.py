# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job's script sees on a VM what it sees on a node, but for what docs/user.md names with reasons."""

from __future__ import annotations

import pytest

from tests.e2e import lab
from tests.e2e.equality import PROBE, differences, not_allowed, seen

OPTIONS = ("--mem=300", "--export=ALL,COLOUR=blue,LC_TIME=C")


def on_node(name: str) -> dict[str, str]:
    """Return what the probe sees on a node, after it has ended: the next one has another number and other times."""
    number = lab.submit(PROBE, *OPTIONS, "-w", name)
    lab.until(f"the probe on {name}", lambda: lab.native(number, "State") == "COMPLETED", 60)
    return seen(lab.output(number))


@pytest.mark.every_release
def test_a_script_sees_no_difference_that_the_documentation_does_not_name() -> None:
    nodes = [on_node(name) for name in lab.NODES]
    number = lab.submit(PROBE, *OPTIONS, "-C", lab.FEATURE)
    assert lab.over(number)["outcome"] == "FINISHED"
    vm = seen(lab.output(number))
    found = differences(nodes, vm)
    print("\n".join(f"{key}: {node!r} → {there!r}" for key, (node, there) in found.items()))
    assert len(vm) > 80, f"the probe ended early: {lab.output(number)}"
    assert not_allowed(found) == []


@pytest.mark.every_release
def test_steps_run_in_a_vm_as_they_do_on_a_node() -> None:
    script = r"""#!/bin/bash
srun -n 2 sh -c 'echo task $SLURM_PROCID of $SLURM_NTASKS' | sort
test "$(srun -n 2 hostname | sort -u)" = "$(scontrol show hostnames)" && echo one host
srun -n 1 sh -c 'exit 3'; echo step $?
copy=/tmp/broadcast.$SLURM_JOB_ID
sbcast --force /etc/hostname $copy && cmp /etc/hostname $copy && echo sbcast
squeue -h -j $SLURM_JOB_ID -o %T; sinfo -h -p main -o %P | head -1
child=$(sbatch --parsable -p $SLURM_JOB_PARTITION --output=/dev/null --wrap true) && echo child
scancel $child && echo cancelled
exit 5
"""
    real = lab.submit(script, "-n", "2", "--mem=300")
    lab.until("the real job", lambda: lab.native(real, "State") == "FAILED", 90)
    virtual = lab.submit(script, "-n", "2", "--mem=300", "-C", lab.FEATURE)
    assert lab.over(virtual)["exit_code"] == 5
    told, expected = lab.output(virtual), lab.output(real)
    for line in ("one host", "step 3", "sbcast", "RUNNING", "child", "cancelled"):
        assert line in told.splitlines(), told

    def plain(text: str) -> list[str]:
        """Return the output without Slurm's own messages, which name job and host."""
        return [line for line in text.splitlines() if not line.startswith(("srun: ", "slurmstepd"))]

    assert plain(told) == plain(expected)
