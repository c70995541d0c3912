# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that keep placeholders from being submitted, or jobs from their VMs later, are named in time."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.plugins.module_utils.doctor.machine_fixture import (
    ACCESS,
    RELEASES,
    Recorded,
    bad,
    failing,
    node,
    only,
    outcomes,
    recorded,
    spoiled,
)
from wnodes.bait.config import BaitConfig
from wnodes.doctor import slurm_jobs
from wnodes.doctor.check import CheckOutcome
from wnodes.model.codec import decode

FAILURE, WARNING = CheckOutcome.FAILURE, CheckOutcome.WARNING


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("key", "value", "check", "outcome"),
    [
        ("DisableRootJobs", "YES", "slurm.root_jobs", FAILURE),
        ("AuthInfo", "cred_expire=30", "slurm.cred_expire", WARNING),
        ("AuthInfo", "ttl=60,cred_expire=3600", "slurm.cred_expire", WARNING),
        ("NodeFeaturesPlugins", "node_features/helpers", "slurm.node_features", WARNING),
        ("JobRequeue", "0", "slurm.requeue", WARNING),
        ("MinJobAge", "2 sec", "slurm.job_age", WARNING),
        ("SlurmdSpoolDir", "/home/slurm/%n", "slurm.spool", FAILURE),
    ],
)
def test_a_wrong_setting_is_named_with_what_it_does_and_its_cure(
    release: str, key: str, value: str, check: str, outcome: CheckOutcome
) -> None:
    found = only(spoiled(release, key, value), node(bait=with_home()), check)
    assert (found.outcome, found.object) == (outcome, key)
    assert found.reason
    assert found.hint


def with_home(**more: Any) -> BaitConfig:
    mounts = [{"source": "/srv/home", "target": "/home"}]
    return decode(BaitConfig, {"host": "hv1", "nameserver": ACCESS, "slurm": {"node": "hv1"}, "mounts": mounts, **more})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("AuthInfo", "cred_expire=300"),
        ("MinJobAge", "0 sec"),
        ("SlurmdSpoolDir", "/homes/slurm"),
        ("SlurmdParameters", "(null)"),
        ("AccountingStorageEnforce", "none"),
    ],
)
def test_other_ways_to_be_right_are_right(key: str, value: str) -> None:
    assert bad(spoiled("22.05", key, value), node(bait=with_home())) == {}


def test_how_long_a_job_waits_that_went_back_is_told() -> None:
    assert outcomes(Recorded(), node())["slurm.cred_expire"].outcome is CheckOutcome.OK
    (told,) = slurm_jobs.credentials({"AuthInfo": ["cred_expire=200"]}, node())
    assert "cred_expire=200: a job that goes back into the queue may wait 201 s" in told.value


@pytest.mark.parametrize("enforced", ["associations", "associations,limits,qos,safe"])
def test_root_needs_an_association_where_they_are_enforced(enforced: str) -> None:
    machine = spoiled("24.11", "AccountingStorageEnforce", enforced)
    machine.says["sacctmgr -nP show assoc user=root cluster=wnlab"] = "root\n"
    assert bad(machine, node()) == {}
    machine.says["sacctmgr -nP show assoc user=root cluster=wnlab"] = ""
    found = only(machine, node(), "slurm.accounting")
    assert (found.outcome, found.value) == (FAILURE, enforced)
    assert "sacctmgr add user root cluster=wnlab" in found.hint
    machine.says["sacctmgr"] = failing("exit code 1: sacctmgr: error: Connection refused")
    del machine.says["sacctmgr -nP show assoc user=root cluster=wnlab"]
    assert outcomes(machine, node())["slurm.accounting"].outcome is CheckOutcome.SKIPPED


def limited(old: str, new: str, enforced: str = "NO") -> Recorded:
    """Return a node whose Slurm has another limit for the VMs' partition."""
    machine = spoiled("24.11", "EnforcePartLimits", enforced)
    lines = recorded("partitions").splitlines()
    assert any(line.startswith("PartitionName=wnvm ") and old in line for line in lines)
    changed = [line.replace(old, new) if line.startswith("PartitionName=wnvm ") else line for line in lines]
    machine.says["scontrol show -a -o partition"] = "\n".join(changed)
    return machine


@pytest.mark.parametrize(("enforced", "fate"), [("NO", "for ever"), ("ALL", "Slurm refuses"), ("ANY", "Slurm refuses")])
def test_jobs_that_may_take_longer_than_the_partition_of_vms_lets_them_are_told(enforced: str, fate: str) -> None:
    found = only(limited("MaxTime=7-00:00:00", "MaxTime=1-00:00:00", enforced), node(), "slurm.limits")
    assert (found.outcome, found.value) == (FAILURE, "MaxTime=1-00:00:00")
    assert "jobs of main may take longer (MaxTime=7-00:00:00)" in found.reason
    assert fate in found.reason
    assert bad(limited("MaxTime=7-00:00:00", "MaxTime=UNLIMITED", enforced), node()) == {}


@pytest.mark.parametrize(
    ("old", "new"), [("AllowGroups=ALL", "AllowGroups=atlas"), ("MaxMemPerNode=UNLIMITED", "MaxMemPerNode=4000")]
)
def test_a_partition_of_vms_that_not_every_job_may_enter_is_told(old: str, new: str) -> None:
    found = only(limited(old, new), node(), "slurm.limits")
    assert (found.outcome, found.value) == (WARNING, new)


def test_a_spool_that_can_not_be_read_is_told_with_the_name_of_the_node_in_it() -> None:
    machine = spoiled("24.11", "SlurmdSpoolDir", "/var/spool/slurmd.%n")
    machine.missing.add("/var/spool/slurmd.hv1")
    assert only(machine, node(), "slurm.spool").value == "/var/spool/slurmd.hv1"
