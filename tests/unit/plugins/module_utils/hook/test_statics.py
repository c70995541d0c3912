# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Without a bait: who could be meant by a rule is meant; bait/test_statics.py has the other end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wnodes.hook import slurm, statics

EVERYBODY = {"users": None, "groups": None, "partitions": None}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(statics, "PATH", str(tmp_path / "statics.json"))
    return tmp_path / "statics.json"


def left(file: Path, *rules: dict[str, object]) -> None:
    file.write_text(json.dumps({"own_partitions": ["wnhold"], "rules": [{**EVERYBODY, **rule} for rule in rules]}))


def test_where_no_bait_ever_ran_nobody_gets_an_image(file: Path) -> None:
    assert not statics.chosen("alice", "main")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"rules": []}', '{"own_partitions": [], "rules": [7]}'])
def test_in_doubt_it_is_virtual(file: Path, text: str) -> None:
    file.write_text(text)
    assert statics.chosen("alice", "main")


def test_a_file_that_can_not_be_read_is_a_doubt(file: Path) -> None:
    file.mkdir()
    assert statics.chosen("alice", "main")


def test_groups_are_not_looked_up_but_could_be_meant(file: Path) -> None:
    left(file, {"groups": ["physics"], "users": ["al*"], "virtual": True})
    assert statics.chosen("alice", "main")
    assert not statics.chosen("bob", "main")
    left(file, {"virtual": True}, {"groups": ["physics"], "virtual": False})
    assert statics.chosen("bob", "main")
    left(file, {"groups": ["physics"], "virtual": True}, {"virtual": False})
    assert not statics.chosen("bob", "main")


def test_a_job_of_which_nothing_is_told_could_be_anybody_s(file: Path) -> None:
    left(file, {"users": ["alice"], "virtual": True})
    assert slurm.wants_vm({})
    assert slurm.wants_vm({"SLURM_JOB_USER": "alice", "SLURM_JOB_PARTITION": "main"})
    assert not slurm.wants_vm({"SLURM_JOB_USER": "bob", "SLURM_JOB_PARTITION": "main"})
    assert slurm.wants_vm({"SLURM_JOB_USER": "bob", "SLURM_JOB_CONSTRAINTS": "vm_a_b_c"})
