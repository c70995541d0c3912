# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Python, systemd, programs."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.doctor.machine_fixture import Recorded, bad, failing, head, node, only
from wnodes.doctor.host import numbers


@pytest.mark.parametrize(
    ("text", "version"), [("Python 3.11.2", (3, 11, 2)), ("systemd 252 (252.39-1~deb12u2)", (252,)), ("none", ())]
)
def test_the_first_version_of_a_text_is_read(text: str, version: tuple[int, ...]) -> None:
    assert numbers(text) == version


def test_a_python_or_systemd_that_is_too_old_or_missing_is_named() -> None:
    machine = Recorded()
    machine.says["/usr/bin/python3 --version"] = "Python 3.9.18"
    assert only(machine, head(), "host.python").value == "Python 3.9.18"
    machine.says["/usr/bin/python3 --version"] = failing("could not be started: No such file or directory")
    assert "could not be started" in only(machine, head(), "host.python").reason
    machine = Recorded()
    machine.says["systemctl --version"] = "systemd 247 (247.3-7)\n+PAM"
    assert only(machine, node(), "host.systemd").value == "systemd 247 (247.3-7)"


def test_programs_that_the_roles_install_are_missed_only_afterwards() -> None:
    machine = Recorded()
    machine.missing.add("qemu-img")
    assert only(machine, node(), "host.programs").hint == "install the package qemu-utils, or run the playbook site"
    assert bad(machine, node(False)) == {}
    machine.missing = {"ip"}
    assert "iproute2" in only(machine, node(False), "host.programs").hint
