# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This machine, whatever it is, can be looked at; all of it takes seconds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wnodes.doctor.catalogue import CHECKS
from wnodes.doctor.check import HEAD, NODE, CheckOutcome, Wanted
from wnodes.doctor.machine import Machine, size_mib
from wnodes.model.errors import CommandFailed, NotFoundError, UnavailableError


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_programs_are_run_with_english_messages_and_a_known_path(machine: Machine) -> None:
    said = machine.run("env").stdout.split()
    assert "LC_ALL=C" in said
    assert machine.run("sh", "-c", "exit 3", check=False).rc == 3
    assert machine.said("cat", "/dev/null") == ""
    with pytest.raises(CommandFailed):
        machine.said("false")
    assert os.access(machine.program("sh"), os.X_OK)
    assert machine.program("no-such-program") == ""


def test_files_that_are_there_and_files_that_are_not(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "b"
    path.write_bytes(b"caf\xe9")
    path.chmod(0o640)
    (tmp_path / "a").mkdir()
    assert (machine.read(str(path)), machine.mode(str(path)), machine.there(str(path))) == ("caf\ufffd", 0o640, True)
    assert machine.entries(str(tmp_path)) == ["a", "b"]
    nowhere = str(tmp_path / "no" / "where")
    assert (machine.read(nowhere), machine.mode(nowhere), machine.there(nowhere)) == (None, None, False)
    assert machine.entries(nowhere) == []
    assert [machine.readable(folder) for folder in (str(tmp_path), nowhere, str(path))] == [True, False, False]
    assert machine.free_mib(nowhere) > 0
    assert size_mib(machine, nowhere) == 0
    (tmp_path / "a" / "big").write_bytes(bytes(3 << 20))
    assert size_mib(machine, str(tmp_path)) >= 3


def test_names_and_addresses(machine: Machine) -> None:
    assert "127.0.0.1" in machine.addresses_of("localhost")
    assert ("127.0.0.1", ("localhost",)) in [(address, names[:1]) for address, names in machine.hosts("127.0.0.1")]
    with pytest.raises(NotFoundError):
        machine.addresses_of("no-such-host.invalid")
    assert machine.is_mine("127.0.0.1")
    assert not machine.is_mine("192.0.2.1")
    assert machine.has_address("lo")
    assert not machine.has_address("nope0")


def test_a_service_that_is_not_there(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        machine.ask("bait", str(tmp_path / "bait.sock"), "/healthz")


@pytest.mark.parametrize("role", [HEAD, NODE])
def test_every_check_says_something_before_a_roll_out_of_whatever_machine_this_is(machine: Machine, role: str) -> None:
    wanted = Wanted(role, running=False)
    found = [finding for check in CHECKS if check.fits(wanted) for finding in check.findings(machine, wanted)]
    strange = [str(finding) for finding in found if "could not be looked at" in finding.reason]
    assert strange == []
    assert [str(finding) for finding in found if finding.outcome is CheckOutcome.FAILURE and not finding.reason] == []
