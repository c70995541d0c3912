# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and addresses."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.plugins.module_utils.doctor.machine_fixture import Recorded, bad, head, node, only
from wnodes.doctor.check import CheckOutcome
from wnodes.nameserver.config import NameserverAccess


def test_a_name_that_is_another_machines_is_a_failure_and_one_that_does_not_resolve_a_warning() -> None:
    machine = Recorded()
    machine.says["getent ahostsv4 hv1"] = ""
    found = only(machine, node(), "names.own")
    assert (found.object, found.outcome) == ("host name hv1", CheckOutcome.WARNING)
    machine = Recorded()
    machine.mine = {"10.0.0.12"}
    found = only(machine, node(), "names.own")
    assert (found.value, found.outcome) == ("10.0.0.11", CheckOutcome.FAILURE)


def test_a_name_that_means_the_machine_itself_only_and_one_without_a_way_back_are_warnings() -> None:
    machine = Recorded()
    machine.says["getent ahostsv4 hv1"] = "127.0.1.1       STREAM hv1"
    assert "resolves to a loopback address" in only(machine, node(), "names.own").reason
    machine = Recorded()
    machine.says["getent hosts 10.0.0.11"] = "10.0.0.11       old-name.example.org"
    found = only(machine, node(), "names.own")
    assert (found.value, found.outcome) == ("old-name", CheckOutcome.WARNING)


def test_the_head_node_must_resolve_unless_it_is_an_address() -> None:
    machine, wanted = Recorded(), node()
    machine.says["getent ahostsv4 head.example.org"] = ""
    assert only(machine, wanted, "names.head").object == "host name head.example.org"
    assert wanted.hypervisor is not None
    by_address = replace(wanted.hypervisor, nameserver=NameserverAccess("https://10.0.0.10"))
    assert bad(machine, replace(wanted, hypervisor=by_address)) == {}


def test_names_and_addresses_of_vms_that_are_somebody_elses_are_failures() -> None:
    machine = Recorded()
    machine.says["getent hosts vwn-100"] = "10.0.0.100 vwn-100.example.org\n10.9.9.9 vwn-101\n"
    found = only(machine, head(), "names.ranges")
    assert (found.object, found.value) == ("host name vwn-101", "10.9.9.9")
    machine.says["getent hosts vwn-100"] = "10.0.0.102 printer.example.org printer\n"
    found = only(machine, head(), "names.ranges")
    assert (found.object, found.value) == ("address 10.0.0.102", "printer.example.org, printer")


def test_fewer_names_than_cpus_are_a_warning_and_vms_are_not_counted() -> None:
    machine = Recorded()
    assert bad(machine, head(count=8)) == {}
    found = only(machine, head(count=7), "names.enough")
    assert (found.value, found.outcome) == ("7", CheckOutcome.WARNING)
    assert "8 CPUs" in found.reason
