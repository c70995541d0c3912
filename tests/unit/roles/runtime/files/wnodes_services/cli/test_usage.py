# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Help of each command: plain, and in the words of its manual page."""

from __future__ import annotations

import pytest

from tests.unit.roles.runtime.files.wnodes_services.cli.conftest import Cli
from wnodes_services.cli import pages, usage

TREE = {" ".join(words[1:]): command for words, command in pages.commands()}


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("", "[OPTIONS] COMMAND"),
        ("jobs", "[OPTIONS] [HOSTS...]"),
        ("drain", "[OPTIONS] HOSTS..."),
        ("explain", "[OPTIONS] JOBID"),
        ("images", "[OPTIONS] COMMAND"),
        ("images verify", "[OPTIONS] [TAG|FOLDER...]"),
        ("rules check", "[OPTIONS] [FILE]"),
    ],
)
def test_help_is_plain_and_has_the_words_of_the_manual(wnodes: Cli, command: str, usage: str) -> None:
    code, out, err = wnodes(*command.split(), "-h")
    assert (code, err) == (0, "")
    assert out == wnodes(*command.split(), "--help")[1]
    assert out.splitlines()[0] == " ".join(("Usage: wnodes", *command.split(), usage))
    assert not set("{}<>│╭") & set(out)
    assert out.endswith("Show this message and exit.\n")


@pytest.mark.parametrize("command", TREE)
def test_help_tells_each_argument_and_option(wnodes: Cli, command: str) -> None:
    out = " ".join(wnodes(*command.split(), "-h")[1].split())
    for parameter in TREE[command].params:
        word = usage.option(parameter) if parameter.param_type_name == "option" else usage.placeholder(parameter)
        assert word in out
        assert parameter.help.split()[0] in out
