# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The setting is obeyed; ``auto`` believes only a kernel that booted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wnodes.image.recipe.accel import decide


@pytest.mark.parametrize("setting", ["kvm", "tcg"])
def test_a_setting_is_obeyed_without_a_probe(setting: str) -> None:
    assert decide(setting, lambda _kernel, _digest: pytest.fail("probed")) == setting


@pytest.mark.parametrize(("boots", "expected"), [(True, "kvm"), (False, "tcg")])
def test_auto_tries_the_newest_kernel(tmp_path: Path, boots: bool, expected: str) -> None:
    for name, age in (("vmlinuz-9", 10), ("vmlinuz-10", 20)):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (age, age))
    tried: list[str] = []

    def probe(kernel: str, digest: str) -> bool:
        assert kernel in digest
        tried.append(Path(kernel).name)
        return boots

    assert decide("auto", probe, str(tmp_path / "vmlinuz-*")) == expected
    assert tried == ["vmlinuz-10"]


def test_without_a_kernel_there_is_nothing_to_believe(tmp_path: Path) -> None:
    assert decide("auto", lambda _kernel, _digest: True, str(tmp_path / "*")) == "tcg"
