# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration file is right, or the service says file, key, value and what is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from wnodes.bait.rulesfile import BrokenRules
from wnodes.model.errors import ConfigError
from wnodes_services.config import EX_CONFIG, load, load_or_exit


@dataclass(frozen=True)
class Inner:
    size: int = 1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(object="inner.size", value=str(self.size), reason="must be 1 or more")


@dataclass(frozen=True)
class Config:
    name: str
    inner: Inner = Inner()


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "thing.yml"
    path.write_text(text)
    return str(path)


def test_a_good_file(tmp_path: Path) -> None:
    assert load(Config, written(tmp_path, "name: a\ninner: {size: 2}\n")) == Config("a", Inner(2))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "thing.yml: name: is missing"),
        ("name: 1", r"thing.yml: name \(1\): must be a text"),
        ("name: a\nnmae: b", r"thing.yml: nmae \('b'\): unknown key; known keys: name, inner"),
        ("name: a\ninner: {size: big}", r"thing.yml: inner.size \('big'\): must be a whole number"),
        ("name: a\ninner: {size: 0}", r"thing.yml: inner.size \(0\): must be 1 or more"),
        ("- name", "thing.yml .*must be a mapping"),
        ("name: [", "thing.yml: is not YAML"),
        ("name: a\x00", "thing.yml: is not YAML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load(Config, written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load_or_exit(Config, str(tmp_path / "none.yml"))
    assert caught.value.code == EX_CONFIG == 78
    said = capsys.readouterr().err
    assert said.startswith("configuration: ")
    assert "none.yml: No such file or directory" in said
    assert said.count("\n") == 1


def test_all_that_a_further_check_finds_is_said_line_by_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(config: Config) -> None:
        raise BrokenRules("r", [ConfigError(object=f"r:{line}: cpus", reason=config.name) for line in (1, 2)])

    with pytest.raises(SystemExit) as caught:
        load_or_exit(Config, written(tmp_path, "name: bad"), refuse)
    assert caught.value.code == EX_CONFIG
    assert capsys.readouterr().err == "configuration: r:1: cpus: bad\nconfiguration: r:2: cpus: bad\n"
