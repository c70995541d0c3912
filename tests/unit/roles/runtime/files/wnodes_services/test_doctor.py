# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of a machine, by its configuration files, and as its services tell them to a manager."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.module_utils.bait.bait_fixture import Site
from tests.unit.plugins.module_utils.doctor.machine_fixture import NOW, Recorded
from wnodes.bait.client import BaitClient
from wnodes.doctor.catalogue import CHECKS
from wnodes.doctor.check import HEAD, NODE, CheckOutcome
from wnodes.hypervisor.client import HypervisorClient
from wnodes.hypervisor.fake import FakeHypervisor
from wnodes.model.errors import AuthError, NotFoundError
from wnodes_services import bait_main, doctor, edge, hypervisor_main

ACCESS = "nameserver: {url: 'https://head.example.org'}\n"
NAMESERVER = "pool: {network: {prefix: 24}, ranges: [{prefix: vwn-, first: 1, address: 10.0.0.100, count: 20}]}\n"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    made = Recorded()
    made.health["now"] = NOW - 2
    monkeypatch.setattr(doctor, "Machine", lambda: made)
    return made


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: Recorded) -> Path:
    monkeypatch.setattr(doctor, "ETC", str(tmp_path))
    (tmp_path / "hypervisor.yml").write_text(f"host: hv1\n{ACCESS}mounts_allowed: [/home]\n")
    (tmp_path / "bait.yml").write_text(f"host: hv1\n{ACCESS}slurm: {{node: hv1}}\n")
    return tmp_path


def test_a_machine_is_what_it_has_configuration_files_of(etc: Path) -> None:
    assert doctor.roles() == (NODE,)
    (etc / "nameserver.yml").write_text(NAMESERVER)
    assert doctor.roles() == (HEAD, NODE)
    for path in etc.iterdir():
        path.unlink()
    with pytest.raises(NotFoundError, match="playbook preflight"):
        doctor.roles()


def test_a_healthy_machine_that_is_head_and_node_is_looked_at_as_both(etc: Path) -> None:
    (etc / "nameserver.yml").write_text(NAMESERVER)
    found = list(doctor.look(CHECKS))
    assert [str(finding) for finding in found if finding.outcome in (CheckOutcome.FAILURE, CheckOutcome.WARNING)] == []
    assert {"names.enough", "names.own"} <= {finding.check for finding in found}
    assert len(set(found)) == len(found)


def test_a_broken_file_is_a_finding_and_the_other_checks_are_made(etc: Path) -> None:
    (etc / "bait.yml").write_text("colour: red\n")
    found = [finding for finding in doctor.look(CHECKS) if finding.outcome is CheckOutcome.FAILURE]
    assert [finding.object for finding in found] == [f"{etc}/bait.yml: colour"]


def test_the_head_nodes_clock_is_that_of_its_nameserver(etc: Path, machine: Recorded) -> None:
    assert doctor.wanted(NODE, machine).now == NOW - 2
    machine.dead = {"nameserver"}
    assert doctor.wanted(NODE, machine).now is None


def test_every_check_of_a_node_is_made_by_one_of_its_services() -> None:
    by_bait, by_hypervisor = ({check.name for check in doctor.of_service(name)} for name in ("bait", "hypervisor"))
    assert by_bait & by_hypervisor == set()
    assert by_bait | by_hypervisor == {check.name for check in CHECKS if NODE in check.on}
    assert {name.partition(".")[0] for name in by_bait} == {"slurm", "memory"}


def test_managers_and_root_are_told_and_nobody_else(etc: Path, calling: Any) -> None:
    apps = {"bait": bait_main.application(Site().bait), "hypervisor": hypervisor_main.application(FakeHypervisor())}
    for service, make in (("bait", BaitClient), ("hypervisor", HypervisorClient)):
        for root in (
            calling(apps[service], uid=0),
            calling(apps[service], names=("manager.wnodes", "head.manager.wnodes")),
        ):
            answer = make(root).doctor(1.0)  # type: ignore[attr-defined]
            assert answer["version"] == edge.VERSION
            told = {finding["check"] for finding in answer["findings"]}
            assert told == {check.name for check in doctor.of_service(service) if check.running is not False}
        with pytest.raises(AuthError):
            make(calling(apps[service], uid=2001)).doctor(1.0)  # type: ignore[attr-defined]
