# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A recorded demo is what was printed, shortened by marks that say so; the first pages show it if there is one."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

from tests.documents import ROOT


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = str(ROOT / "tools" / "record-demo")
    spec = importlib.util.spec_from_file_location("record_demo", path, loader=SourceFileLoader("record_demo", path))
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules["record_demo"] = made  # dataclasses look there
    spec.loader.exec_module(made)
    return made


def captured(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, folder: Path, output: str, *options: str) -> str:
    """Return the text that is written for what a command has printed."""
    source = folder / "output"
    source.write_text(output)
    monkeypatch.setattr(sys, "argv", ["record-demo", "--from", str(source), "--to", str(folder / "demo"), *options])
    assert tool.main() == 0
    return (folder / "demo.txt").read_text()


def test_all_that_was_printed_is_shown_after_the_command(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = captured(tool, monkeypatch, tmp_path, "\x1b[32mone\x1b[0m\r\n[b]two[/b] <&>\n")
    assert text.splitlines()[0][2:] == "make demo"
    assert text.splitlines()[1:] == ["one", "[b]two[/b] <&>"]


def test_lines_beyond_the_limit_are_counted_in_their_place(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    output = "".join(f"{number}\n" for number in range(20))
    text = captured(tool, monkeypatch, tmp_path, output, "--lines", "8")
    assert text.split()[3:] == ["0", "1", "[…", "12", "lines", "…]", "14", "15", "16", "17", "18", "19"]


def test_a_long_silence_is_told_and_a_short_one_is_not(tool: ModuleType) -> None:
    lines = [tool.Line("a", 0.0), tool.Line("b", 5.0), tool.Line("c", 130.0), tool.Line("d")]
    shown = tool.shortened(lines, 10, 60)
    assert [line.text for line in shown] == ["a", "b", tool.MARK.format("[… 2 min 5 s …]"), "c", "d"]


def test_a_line_that_was_written_over_is_shown_as_it_was_last(tool: ModuleType) -> None:
    times = iter((1.0, 2.0, 3.0))
    lines = list(tool.told(["10%\r5", "0%\r100%\nnext\nla", "st"], lambda: next(times)))
    assert [(line.text, line.at) for line in lines] == [("100%", 1.0), ("next", 2.0), ("last", 3.0)]


def test_the_picture_loads_nothing_and_names_no_folder_of_this_machine(tool: ModuleType) -> None:
    picture, text = tool.drawn([tool.Line(f"see {ROOT}/docs/index.md")], "make demo", 80)
    assert text == "see docs/index.md\n"
    assert str(ROOT) not in picture
    assert "@font-face" not in picture
    assert "https://" not in picture.replace("https://www.textualize.io", "")


@pytest.mark.parametrize(("page", "image"), [("README.md", "docs/demo.svg"), ("docs/index.md", "demo.svg")])
def test_the_first_pages_show_a_recorded_demo_exactly_if_there_is_one(page: str, image: str) -> None:
    assert (f"]({image})" in (ROOT / page).read_text()) == (ROOT / "docs" / "demo.svg").exists()
