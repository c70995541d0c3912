# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can't go to a VM is refused at submit, with the reason, by a real slurmctld; all else is taken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.private_slurm import NODES, ROOT, PrivateSlurm
from tests.integration.slurm_bait import VM

SCRIPT = ROOT / "roles" / "slurm_controller" / "files" / "job_submit.lua"
INSTALLED, CONF = "/etc/slurm/job_submit.lua", "/etc/slurm/slurm.conf"
TERMINAL, PART, NODE = "a job with a terminal", "a part of a heterogeneous job", "a job in a VM has one node"
BATCH = ("sbatch", "--hold", "--mem=10", "--wrap", "true")


@pytest.fixture(scope="module")
def strict(slurm_cluster: PrivateSlurm) -> Iterator[PrivateSlurm]:
    """Return the private Slurm, which refuses at submit as role ``slurm_controller`` has it."""
    slurm = slurm_cluster
    slurm.reset()
    before = slurm.ask("cat", CONF)
    slurm.ask("tee", INSTALLED, input=SCRIPT.read_text())
    slurm.ask("tee", CONF, input=before + "JobSubmitPlugins=lua\n")
    slurm.stop_controller()
    slurm.start_controller()
    features = f"bait,ssd,{VM}"
    for name in NODES:
        slurm.ask(
            "scontrol", "update", f"NodeName={name}", f"AvailableFeatures={features}", f"ActiveFeatures={features}"
        )
    yield slurm
    slurm.ask("tee", CONF, input=before)
    slurm.ask("rm", INSTALLED)
    slurm.stop_controller()
    slurm.start_controller()
    slurm.reset()


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (("srun", "-C", VM, "hostname"), TERMINAL),
        (("salloc", "-C", VM, "hostname"), TERMINAL),
        (("srun", "-C", f"ssd&{VM}", "--pty", "sh"), TERMINAL),
        (("sbatch", "-N", "2", "-C", VM, "--wrap", "true"), NODE),
        (("sbatch", "-N", "2-2", "-C", f"{VM}&ssd", "--wrap", "true"), NODE),
        (("sbatch", "-N", "2", "-C", f"[{VM}*1&ssd*1]", "--wrap", "true"), NODE),
        (("sbatch", "-C", VM, "--prefer=ssd", "--wrap", "true"), "--prefer would hide the image from us"),
        (("sbatch", "-C", VM, ":", "--mem=10", "--wrap", "true"), PART),
        (("sbatch", "--mem=10", ":", "-C", VM, "--wrap", "true"), PART),
    ],
)
def test_what_can_not_go_to_a_vm_is_refused_and_told_why(
    strict: PrivateSlurm, argv: tuple[str, ...], reason: str
) -> None:
    done = strict.run(*argv, user="alice")
    assert done.rc == 1
    assert reason in done.stderr
    assert "Granted" not in done.stderr
    assert strict.run("squeue", "-h", "-a", "-u", "alice").stdout == ""


@pytest.mark.parametrize(
    "argv",
    [
        (*BATCH, "-C", VM),
        (*BATCH, "-C", f"{VM}&ssd", "-N", "1"),
        (*BATCH, "-C", VM, "--array=1-3%1"),
        (*BATCH, "-C", "ssd", "-N", "2"),
        (*BATCH, "-N", "2"),
        ("sbatch", "--hold", "--mem=10", ":", "--mem=10", "--wrap", "true"),
        ("srun", "-C", "ssd", "--mem=10", "true"),
        ("salloc", "--mem=10", "true"),
    ],
)
def test_all_else_is_taken(strict: PrivateSlurm, argv: tuple[str, ...]) -> None:
    done = strict.run(*argv, user="alice")
    strict.run("scancel", "-u", "alice")
    assert done.rc == 0, done


def test_what_waits_can_be_changed(strict: PrivateSlurm) -> None:
    job = strict.ask(*BATCH, "--parsable", "-C", VM, user="alice").strip()
    strict.ask("scontrol", "update", f"JobId={job}", "TimeLimit=5", f"Features={VM}&ssd", user="alice")
    assert strict.job(job)["Features"] == f"{VM}&ssd"
    strict.ask("scancel", job)
