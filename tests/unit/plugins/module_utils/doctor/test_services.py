# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of a machine, and what they need to be well."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.plugins.module_utils.doctor.machine_fixture import Recorded, bad, failing, head, node, only, outcomes
from wnodes.doctor.check import CheckOutcome
from wnodes.model.errors import ConfigError


@pytest.mark.parametrize(
    ("old", "new", "says", "outcome"),
    [
        ("LoadState=loaded", "LoadState=not-found", "is not installed", CheckOutcome.FAILURE),
        ("ActiveState=active", "ActiveState=failed", "does not run", CheckOutcome.FAILURE),
        ("UnitFileState=enabled", "UnitFileState=disabled", "will not run after", CheckOutcome.WARNING),
    ],
)
def test_a_unit_that_is_not_as_it_must_be_is_named(old: str, new: str, says: str, outcome: CheckOutcome) -> None:
    machine = Recorded()
    shown = str(machine.says["systemctl show"])
    machine.says["systemctl show"] = shown[::-1].replace(old[::-1], new[::-1], 1)[::-1]  # the last unit
    found = only(machine, node(), "services.units")
    assert (found.object, found.outcome) == ("wnodes-hook.socket", outcome)
    assert says in found.reason


def test_a_service_that_does_not_answer_is_told_once() -> None:
    machine = Recorded()
    machine.dead = {"bait"}
    assert only(machine, node(), "services.answers").object == "bait"
    assert outcomes(machine, node())["services.well"].outcome is CheckOutcome.SKIPPED


def test_an_old_version_and_a_configuration_that_is_not_in_effect_are_warnings() -> None:
    machine = Recorded()
    machine.health["version"] = "0.1.0"
    assert "(0.2.0)" in only(machine, node(), "services.answers").reason
    machine = Recorded()
    machine.files["/etc/wnodes/bait.yml"] += "heartbeat_s: 3\n"
    assert only(machine, node(), "services.answers").value == "/etc/wnodes/bait.yml"


def test_what_a_service_calls_a_problem_is_a_failure() -> None:
    machine = Recorded()
    machine.health["problems"] = ["libvirt: does not answer"]
    assert only(machine, node(), "services.well").reason == "libvirt: does not answer"


def test_a_configuration_that_can_not_be_used_is_a_failure_before_and_after() -> None:
    error = ConfigError(
        object="/etc/wnodes/bait.yml: colour", value="'red'", reason="unknown key", hint="known keys: host"
    )
    for running in (True, False):
        found = only(Recorded(), replace(node(running), broken=(error,)), "services.configuration")
        assert (found.object, found.value, found.reason, found.hint) == (
            error.object, error.value, error.reason, error.hint,
        )  # fmt: skip


def test_certificates_that_are_foreign_near_their_end_or_for_another_role_are_named() -> None:
    machine = Recorded()
    machine.says["openssl verify"] = failing("exit code 2: certificate has expired\nmore")
    found = only(machine, head(), "services.certificates")
    assert found.reason.endswith("certificate has expired")
    machine = Recorded()
    machine.ended = True
    assert only(machine, head(), "services.certificates").outcome is CheckOutcome.WARNING
    machine = Recorded()
    machine.says["openssl x509"] = "notAfter=x\nDNS:bait.wnodes, DNS:hv1.bait.wnodes"
    assert only(machine, node(), "services.certificates").reason == "is not for role hypervisor"


def test_keys_that_others_can_read_or_that_belong_to_no_certificate_are_failures() -> None:
    machine = Recorded()
    machine.modes["/etc/wnodes/pki/bait.key"] = 0o640
    found = only(machine, node(), "services.certificates")
    assert (found.value, found.hint[:9]) == ("0640", "`chmod 60")
    del machine.modes["/etc/wnodes/pki/bait.key"]
    assert only(machine, node(), "services.certificates").reason == "is not there"
    machine = Recorded()
    machine.public_key = "another"
    assert only(machine, node(), "services.certificates").reason == "is not that of its certificate"


def test_a_nameserver_that_is_not_reached_is_told_for_each_service() -> None:
    machine = Recorded()
    machine.dead = {"nameserver"}
    found = only(machine, node(), "services.nameserver")
    assert (found.object, found.value) == ("nameserver, as the hypervisor reaches it", "https://head.example.org")


@pytest.mark.parametrize(
    "path",
    ["/etc/slurm/prolog.d/50-wnodes", "/etc/slurm/epilog.d/50-wnodes", "/usr/libexec/wnodes/wnodes-hook"],
)
def test_a_hook_that_is_not_there_or_not_executable_is_a_failure(path: str) -> None:
    machine = Recorded()
    machine.modes[path] = 0o644
    found = only(machine, node(), "services.hook")
    assert (found.object, found.value, found.reason) == (f"hook {path}", "0644", "is not executable")
    del machine.modes[path]
    assert only(machine, node(), "services.hook").reason == "is not there"


def test_a_hook_that_was_changed_is_a_warning() -> None:
    machine = Recorded()
    machine.files["/usr/libexec/wnodes/hook/main.py"] += "print()\n"
    assert only(machine, node(), "services.hook").outcome is CheckOutcome.WARNING


def test_jobs_that_wait_for_a_bait_are_told() -> None:
    machine = Recorded()
    machine.files["/var/lib/wnodes/adopt/4711"] = ""
    assert only(machine, node(), "services.leftovers").value == "4711"
    assert bad(machine, head()) == {}
