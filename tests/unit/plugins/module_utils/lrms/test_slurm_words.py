# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The word the hook leaves, read as the hook writes it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from wnodes.hook import emergency
from wnodes.lrms.slurm_words import words


def silent(_argv: list[str], limit_s: float) -> tuple[int | None, str]:
    return None, ""


def test_what_the_hook_writes_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emergency, "ADOPT_DIR", str(tmp_path / "adopt"))
    moments = iter(range(0, 10000, 10))
    assert not emergency.put_back("7_1", "hv1", silent, lambda: float(next(moments)), lambda seconds: None)
    (word,) = words(str(tmp_path / "adopt"))
    assert (word.job, word.requeue, word.failed) == ("7_1", "", True)
    word.forget()
    word.forget()
    assert words(str(tmp_path / "adopt")) == []


@pytest.mark.parametrize(
    ("content", "requeue", "failed"),
    [
        (b"", "", False),
        (b"Requeue=0\n", "0", False),
        (b"Requeue=1\nFailed=1\n", "1", True),
        (b"Requeue=2\nFailed=yes\n", "", False),
        (b"\xff=\xff\n\0\nnothing", "", False),
    ],
)
def test_only_what_is_meant_is_read(tmp_path: Path, content: bytes, requeue: str, failed: bool) -> None:
    (tmp_path / "7").write_bytes(content)
    (word,) = words(str(tmp_path))
    assert (word.requeue, word.failed) == (requeue, failed)


def test_older_words_come_first_and_none_is_younger_than_now(tmp_path: Path) -> None:
    for name, age_s in (("7", -1000), ("8", 1000), (".9", 0), ("x", 0)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, times=(time.time() - age_s,) * 2)
    assert [word.job for word in words(str(tmp_path))] == ["8", "7"]
    assert words(str(tmp_path))[1].age_s == 0.0


def test_where_the_hook_has_never_left_any_there_is_none(tmp_path: Path) -> None:
    assert words(str(tmp_path / "none")) == []
