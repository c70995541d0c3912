# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module: fit, unfit, nearly fit × check mode × repeated; it never changes anything."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.wnodes.farm.plugins.modules import preflight
from tests.unit.plugins.module_utils.doctor.machine_fixture import ACCESS, NOW, Recorded
from tests.unit.plugins.modules.matrix import Answer, Call, only_reads, run

NODE: dict[str, Any] = {
    "role": "node",
    "hypervisor": {"host": "hv1", "nameserver": ACCESS},
    "bait": {"host": "hv1", "nameserver": ACCESS, "slurm": {"node": "hv1"}},
    "reference_time": NOW,
}
NAMES = {"prefix": "vwn-", "first": 1, "address": "10.0.0.100", "count": 20}
HEAD: dict[str, Any] = {"role": "head", "nameserver": {"pool": {"network": {"prefix": 24}, "ranges": [NAMES]}}}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    made = Recorded()
    monkeypatch.setattr(preflight, "backend", lambda: made)
    return made


@pytest.fixture
def module(machine: Recorded, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(**options: Any) -> Answer:
        return run(preflight, capsys, **options)

    return call


def test_a_machine_that_is_fit_passes_unchanged_each_time(module: Call, machine: Recorded) -> None:
    only_reads(module, lambda: repr(machine.says), (NODE, HEAD))
    for options in (NODE, HEAD):
        answer = module(**options)
        assert not answer.get("failed")
        assert {finding["outcome"] for finding in answer["findings"]} <= {"ok", "skipped"}


@pytest.mark.parametrize("check", [False, True])
def test_all_failures_are_told_at_once_each_with_its_cure(module: Call, machine: Recorded, check: bool) -> None:
    shown = str(machine.says["scontrol show config"])
    machine.says["scontrol show config"] = shown.replace("= Alloc", "= (null)").replace("= 300 sec", "= 60 sec")
    answer = module(check=check, **NODE)
    assert answer["failed"]
    assert "does not meet the requirements of role node" in answer["msg"]
    assert "slurm.prolog_flags: PrologFlags: prologs would run at a job's first step" in answer["msg"]
    assert "slurm.node_timeout: SlurmdTimeout (60 s): must be longer than a lease" in answer["msg"]
    assert [finding["check"] for finding in answer["findings"][:2]] == ["slurm.prolog_flags", "slurm.node_timeout"]
    assert answer["findings"][0]["hint"] == "set PrologFlags=Alloc in slurm.conf, and run `scontrol reconfigure`"


def test_what_could_be_better_is_a_warning_and_no_failure(module: Call, machine: Recorded) -> None:
    answer = module(**{**NODE, "reference_time": NOW - 10})
    assert not answer.get("failed")
    assert ["clock.difference: clock (10.0 s ahead)" in str(text) for text in answer["warnings"]] == [True]


def test_a_configuration_that_no_service_would_take_is_a_failure_before_anything_is_installed(module: Call) -> None:
    answer = module(**{**NODE, "bait": {**NODE["bait"], "colour": "red"}})
    assert "services.configuration: bait: colour ('red'): unknown key" in answer["msg"]


def test_an_uplink_that_can_not_be_taken_is_a_failure(module: Call, machine: Recorded) -> None:
    answer = module(**NODE, uplink="eth9")
    assert "uplink eth9: no such device" in answer["msg"]
