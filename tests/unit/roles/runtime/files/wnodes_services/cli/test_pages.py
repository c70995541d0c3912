# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Man pages and completion: each command has a page, and each page tells how the command ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from wnodes_services.cli import pages
from wnodes_services.cli.common import EXIT_CODES

TREE = {"-".join(words): command for words, command in pages.commands()}


def test_the_tree_has_the_commands_of_administrators() -> None:
    wanted = {"status", "hosts", "jobs", "vms", "explain", "leases", "drain", "undrain", "console", "support-bundle"}
    wanted |= {"images", "images-publish"}
    assert {f"wnodes-{name}" for name in wanted} | {"wnodes"} <= set(TREE)


@pytest.mark.parametrize("name", TREE)
def test_each_command_has_a_page_with_its_options_and_exit_codes(name: str) -> None:
    text = pages.files("1.2.3")[f"man/man1/{name}.1"]
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS"):
        assert f"\n.SH {section}\n" in text
    assert all(pages.roff(meaning) in text for meaning in EXIT_CODES.values())
    assert '"wnodes 1.2.3"' in text
    for parameter in TREE[name].params:
        assert all(pages.roff(word) in text for word in parameter.opts if word.startswith("-"))
        assert parameter.help, parameter.name
    assert all(len(line) < 2000 and not line.startswith("'") for line in text.splitlines())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a-b", "a\\-b"),
        ("C:\\x", "C:\\ex"),
        (".SH trick", "\\&.SH trick"),
        ("two\nlines", "two lines"),
        ("`x`", "\\fBx\\fR"),
    ],
)
def test_texts_are_shown_as_they_are(text: str, shown: str) -> None:
    assert pages.roff(text) == shown


def test_pages_of_commands_that_are_no_more_go_and_others_stay(tmp_path: Path) -> None:
    man = tmp_path / "man/man1"
    man.mkdir(parents=True)
    for name in ("wnodes-tags.1", "wnodesque.1"):
        (man / name).write_text("old")
    pages.install(tmp_path, "1.2.3")
    pages.install(tmp_path, "1.2.3")
    assert {path.name for path in man.iterdir()} == {*(f"{name}.1" for name in TREE), "wnodesque.1"}
    for path in pages.COMPLETIONS.values():
        assert "_WNODES_COMPLETE" in (tmp_path / path).read_text()
        assert (tmp_path / path).stat().st_mode & 0o777 == 0o644
