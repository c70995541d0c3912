# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of checks: on healthy machines none complains, whatever breaks none ends the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.plugins.module_utils.doctor.machine_fixture import RELEASES, Recorded, bad, head, node, outcomes
from wnodes.doctor.catalogue import CHECKS, counted, worst_first
from wnodes.doctor.check import HEAD, NODE, CheckOutcome, Finding, Wanted
from wnodes.process import Completed


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("wanted", [node(), node(False), head(), head(False)], ids=lambda w: f"{w.role}-{w.running}")
def test_nothing_is_wrong_with_healthy_machines(release: str, wanted: Wanted) -> None:
    assert bad(Recorded(release), wanted) == {}


def test_names_of_checks_are_there_once_and_say_their_subject() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    assert [name for name in names if name.count(".") != 1] == []


def test_what_the_roles_install_is_not_missed_before() -> None:
    machine = Recorded()
    machine.files = {path: text for path, text in machine.files.items() if path.startswith("/proc/")}
    machine.modes = {}
    machine.dead = {"bait", "hypervisor", "nameserver"}
    assert not {name for name in bad(machine, node(False)) if name.partition(".")[0] in ("services", "libvirt")} - {
        "libvirt.control_groups"
    }


@pytest.mark.parametrize("role", [HEAD, NODE])
def test_a_machine_of_which_nothing_is_known_ends_no_check(role: str) -> None:
    class Strange(Recorded):
        def run(self, *argv: str, input: str | None = None, check: bool = True) -> Completed:
            raise KeyError(argv[0])

        def read(self, path: str) -> str | None:
            return "\x00 nobody expected this"

    found = outcomes(Strange(), node() if role == NODE else head())
    assert any("could not be looked at: KeyError" in finding.reason for finding in found.values())
    assert len(found) == len([check for check in CHECKS if role in check.on and check.running is not False])


def test_without_configuration_checks_have_nothing_to_say() -> None:
    assert bad(Recorded(), replace(node(False), hypervisor=None, bait=None)) == {}
    assert bad(Recorded(), replace(head(), nameserver=None)) == {}


def skipped(wanted: Wanted) -> set[str]:
    return {name for name, found in outcomes(Recorded(), wanted).items() if found.outcome is CheckOutcome.SKIPPED}


def test_what_there_is_no_need_to_look_at_is_told_apart_from_what_is_well() -> None:
    assert skipped(node()) == {"libvirt.appliance", "memory.flavours", "slurm.offer"}
    unknown = {"disk.room", "libvirt.virtiofsd", "names.own", "network.bridge", "slurm.offer", "libvirt.appliance"}
    assert skipped(replace(node(), hypervisor=None, bait=None)) == unknown
    assert skipped(replace(head(), now=None)) == {"clock.difference"}


def test_failures_come_first_and_are_counted() -> None:
    found = [
        Finding(outcome, "it")
        for outcome in (CheckOutcome.OK, CheckOutcome.WARNING, CheckOutcome.FAILURE, CheckOutcome.OK)
    ]
    assert [finding.outcome.value for finding in worst_first(found)] == ["failure", "warning", "ok", "ok"]
    assert counted(found) == {"failure": 1, "warning": 1, "skipped": 0, "ok": 2}
