# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker's image holds for jobs: Slurm's own commands, and the program that every task runs first."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from wnodes.lrms.slurm_hosts import TASK_PROLOG

ROLES = Path(__file__).parents[2] / "roles"
GUEST: dict[str, Any] = yaml.safe_load((ROLES / "guest/vars/main.yml").read_text())


def test_jobs_find_the_commands_of_slurm_in_their_vm() -> None:
    assert "slurm-client" in GUEST["__guest_packages"]


def test_the_task_prolog_is_where_slurm_looks_for_it_in_vms_and_on_nodes() -> None:
    assert GUEST["__guest_programs"][TASK_PROLOG] == "slurm-task-prolog"
    configuration = (ROLES / "slurm_controller/templates/slurm.conf.j2").read_text()
    assert re.findall("^TaskProlog=(.*)$", configuration, re.MULTILINE) == [TASK_PROLOG]
    for role in ("slurm_node", "bait"):
        tasks = yaml.safe_load((ROLES / role / "tasks/main.yml").read_text())
        copies = [task["ansible.builtin.copy"] for task in tasks if "ansible.builtin.copy" in task]
        (copy,) = [copy for copy in copies if copy["dest"] == TASK_PROLOG]
        assert copy["src"] == "{{ role_path }}/../guest/files/slurm-task-prolog"
        assert copy["mode"] == "0755"


def test_a_node_has_the_task_prolog_before_the_configuration_that_names_it() -> None:
    tasks = (ROLES / "slurm_node/tasks/main.yml").read_text()
    assert 0 < tasks.index(f"dest: {TASK_PROLOG}") < tasks.index("dest: /etc/slurm/slurm.conf")
