# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm's settings, as 22.05 and 24.11 tell them: each one that is wrong is named, with its cure."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.doctor.machine_fixture import (
    RELEASES,
    Recorded,
    bad,
    failing,
    head,
    node,
    only,
    outcomes,
    recorded,
    spoiled,
)
from wnodes.doctor import slurm
from wnodes.doctor.check import CheckOutcome

FAILURE, WARNING = CheckOutcome.FAILURE, CheckOutcome.WARNING


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("key", "value", "check", "outcome"),
    [
        ("SLURM_VERSION", "21.08.8", "slurm.version", FAILURE),
        ("SLURM_VERSION", "23.11.4", "slurm.version", WARNING),
        ("SlurmctldParameters", "(null)", "slurm.configless", FAILURE),
        ("TreeWidth", "50", "slurm.tree_width", FAILURE),
        ("SelectType", "select/linear", "slurm.select", FAILURE),
        ("SelectTypeParameters", "CR_CORE", "slurm.select", FAILURE),
        ("SchedulerParameters", "bf_interval=1", "slurm.scheduler", WARNING),
        (
            "SchedulerParameters",
            "defer,bf_interval=1,sched_min_interval=0,batch_sched_delay=0",
            "slurm.scheduler",
            WARNING,
        ),
        ("PrologFlags", "(null)", "slurm.prolog_flags", FAILURE),
        ("PrologFlags", "Alloc,NoHold", "slurm.prolog_flags", WARNING),
        ("PrologFlags", "Alloc,Serial", "slurm.prolog_flags", WARNING),
        ("Prolog", "/etc/slurm/prolog.sh", "slurm.hooks", FAILURE),
        ("Epilog", "(null)", "slurm.hooks", FAILURE),
        ("PrologEpilogTimeout", "30", "slurm.hooks", FAILURE),
        ("DefMemPerCPU", "UNLIMITED", "slurm.default_memory", WARNING),
        ("SlurmdTimeout", "120 sec", "slurm.node_timeout", FAILURE),
    ],
)
def test_a_wrong_setting_is_named_with_its_cure(
    release: str, key: str, value: str, check: str, outcome: CheckOutcome
) -> None:
    found = only(spoiled(release, key, value), node(), check)
    assert found.outcome is outcome
    assert found.reason
    assert found.hint
    assert key.lower()[:5] in (found.object + found.hint).lower()


@pytest.mark.parametrize(
    ("key", "value"),
    [("SlurmdTimeout", "0 sec"), ("PrologFlags", "Alloc,Contain,X11"), ("Prolog", "/etc/slurm/prolog.d/50-wnodes")],
)
def test_other_ways_to_be_right_are_right(key: str, value: str) -> None:
    assert bad(spoiled("24.11", key, value), node()) == {}


def test_room_for_all_names_of_vms_is_asked_for_where_they_are_known() -> None:
    assert bad(Recorded(), head(99)) == {}
    found = bad(Recorded(), head(count=100))
    assert found["slurm.max_nodes"].reason == "there is no room for 100 VMs beside the nodes"
    assert "slurm.max_nodes" in bad(spoiled("24.11", "MaxNodeCount", "0"), node())


def test_a_controller_that_is_down_is_told_once() -> None:
    machine = Recorded()
    for command in ("scontrol show config", "scontrol show -a -o partition", "scontrol show -o node", "sbatch"):
        machine.says[command] = failing("exit code 1: error: Unable to contact slurm controller (connect failure)")
    machine.says["scontrol ping"] = "Slurmctld(primary) at head is DOWN\n"
    assert only(machine, node(), "slurm.answers").value == "Slurmctld(primary) at head is DOWN"
    assert outcomes(machine, node())["slurm.hooks"].hint == "see slurm.answers"


def test_what_many_checks_want_to_know_is_asked_once_also_of_a_controller_that_is_silent() -> None:
    machine = Recorded()
    for said in (recorded("config"), failing("did not end within 20 s")):
        machine.says["scontrol show config"] = said
        machine.asked.clear()
        outcomes(machine, node())
        assert machine.asked.count("scontrol show config") == 1


def test_commands_that_are_not_there_and_a_dead_munge_are_named() -> None:
    machine = Recorded()
    machine.missing.add("scontrol")
    assert "slurm-client" in only(machine, node(), "slurm.answers").hint
    machine = Recorded()
    machine.says["munge"] = failing("exit code 6: munge: Error: Failed to access /run/munge/munge.socket.2")
    assert "munge.socket" in only(machine, node(), "slurm.munge").reason


def test_root_that_may_not_submit_is_told_what_slurm_said() -> None:
    machine = Recorded()
    machine.says["sbatch"] = failing("exit code 1: allocation failure: Access denied to requested partition\nmore")
    found = only(machine, node(), "slurm.rights")
    assert found.reason == "exit code 1: allocation failure: Access denied to requested partition"


def test_rights_are_not_doubted_where_the_node_is_only_closed() -> None:
    machine = Recorded()
    machine.says["sbatch"] = failing("exit code 1: allocation failure: Requested node configuration is not available")
    assert outcomes(machine, node())["slurm.rights"].outcome is CheckOutcome.SKIPPED


def test_values_of_numbered_keys_are_put_together() -> None:
    shown = (
        "Prolog[0]               = /a\nProlog[1]               = /b\nEpilog = (null)\nSlurmctldParameters     =\nX = 1"
    )
    assert slurm.config(shown) == {"Prolog": ["/a", "/b"], "Epilog": [], "SlurmctldParameters": [], "X": ["1"]}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(("mode", "said"), [(None, "is not there"), (0o644, "is not executable")])
def test_a_task_prolog_that_can_not_run_is_a_failure_for_it_fails_every_job(
    release: str, mode: int | None, said: str
) -> None:
    machine = Recorded(release)
    machine.modes.pop(slurm.TASK_PROLOG)
    if mode is not None:
        machine.modes[slurm.TASK_PROLOG] = mode
    found = only(machine, node(), "slurm.task_prolog")
    assert found.outcome is FAILURE
    assert found.reason.startswith(f"{said}: every task of every job fails")
    assert bad(machine, node(running=False)) == {}


@pytest.mark.parametrize(("value", "cure"), [("(null)", "set TaskProlog="), ("/etc/slurm/ours", "call /etc/slurm/")])
def test_jobs_that_would_see_that_they_were_moved_are_a_warning(value: str, cure: str) -> None:
    machine = spoiled("24.11", "TaskProlog", value)
    machine.modes["/etc/slurm/ours"] = 0o755
    machine.files["/etc/slurm/ours"] = "#!/bin/sh\n"
    found = only(machine, node(), "slurm.task_prolog")
    assert (found.outcome, found.hint.startswith(cure)) == (WARNING, True)
    machine.files["/etc/slurm/ours"] = f"#!/bin/sh\nexec {slurm.TASK_PROLOG}\n"
    assert ("slurm.task_prolog" in bad(machine, node())) == (value == "(null)")
