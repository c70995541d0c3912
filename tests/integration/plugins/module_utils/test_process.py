# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting real programs: what they leave, and what is said when they fail."""

from __future__ import annotations

import time

import pytest

from wnodes.model.errors import CommandFailed
from wnodes.process import run


def test_output_input_and_environment() -> None:
    done = run(["sh", "-c", 'cat; echo "$WORD" >&2'], timeout=20, input="grüße\n", env={"WORD": "x", "PATH": "/bin"})
    assert (done.rc, done.stdout, done.stderr) == (0, "grüße\n", "x\n")


def test_nobody_waits_for_input_that_never_comes() -> None:
    assert run(["cat"], timeout=20).stdout == ""


def test_arguments_are_no_shell_text() -> None:
    hostile = "$(id) `id` ; id\n'\""
    assert run(["printf", "%s", hostile], timeout=20).stdout == hostile


def test_bytes_that_are_no_text_do_no_harm() -> None:
    assert run(["printf", r"\377"], timeout=20).stdout == "\ufffd"


def test_a_failure_says_everything() -> None:
    with pytest.raises(CommandFailed) as caught:
        run(["sh", "-c", "echo no such thing >&2; exit 3"], timeout=20)
    assert caught.value.object == "sh"
    assert "exit 3" in caught.value.value
    assert caught.value.reason == "exit code 3: no such thing"


def test_an_exit_code_may_be_an_answer() -> None:
    assert run(["false"], timeout=20, check=False).rc == 1


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(CommandFailed, match="could not be started: No such file"):
        run(["wnlab-no-such-program"], timeout=20)


def test_the_limit_holds() -> None:
    begin = time.monotonic()
    with pytest.raises(CommandFailed, match=r"did not end within 0\.2 s"):
        run(["sleep", "60"], timeout=0.2)
    assert time.monotonic() - begin < 30
