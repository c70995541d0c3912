# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How commands end, and what a shell completes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.roles.runtime.files.wnodes_services.cli.conftest import Cli
from wnodes.model.errors import AuthError, RequestError, UnavailableError
from wnodes_services.cli import main, site


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnavailableError(object="nameserver (/run/x)", reason="does not answer", hint="start it"), 3),
        (AuthError(object="leases", reason="is not allowed"), 1),
        (RequestError(object="time", reason="can't be read"), 2),
    ],
)
def test_exit_codes_of_errors(wnodes: Cli, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int) -> None:
    def fail(clock: Any) -> Any:
        raise error

    monkeypatch.setattr(site, "look", fail)
    found, out, err = wnodes("jobs")
    assert (found, out, err) == (code, "", f"wnodes: {error}\n")


def test_wrong_usage_is_2(wnodes: Cli) -> None:
    assert wnodes("jobs", "--nonsense")[0] == 2
    assert wnodes("nonsense")[0] == 2


def test_the_version_is_told(wnodes: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "version", lambda: "1.2.3")
    assert wnodes("--version") == (0, "wnodes 1.2.3\n", "")


def test_a_shell_is_told_how_a_line_goes_on(wnodes: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(main.COMPLETE, "complete_bash")
    for line, wanted in (("dra", ["drain"]), ("drain h", ["hv1"]), ("console v", ["vwn-100"]), ("explain 7", ["7"])):
        words = f"wnodes {line}"
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        assert wnodes()[1].split() == wanted


def test_a_shell_is_told_nothing_where_nothing_answers(wnodes: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(clock: Any) -> Any:
        raise UnavailableError(object="nameserver", reason="does not answer")

    monkeypatch.setattr(site, "look", fail)
    monkeypatch.setenv(main.COMPLETE, "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "wnodes drain h")
    monkeypatch.setenv("COMP_CWORD", "2")
    code, out, err = wnodes()
    assert (code, out.strip(), err) == (0, "", "")
