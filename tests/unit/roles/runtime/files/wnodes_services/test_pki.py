# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a certificate is asked for, and what is put into use; openssl is a fake that knows a few files."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from wnodes.model.errors import CommandFailed
from wnodes.process import Completed
from wnodes_services import pki

NAMES = "X509v3 Subject Alternative Name: \n    DNS:bait.wnodes, DNS:hv1.bait.wnodes\n"


class OpenSsl:
    """Keys are ``key <n>``, certificates ``certificate of <n>``; the public key of both is ``public <n>``."""

    def __init__(self) -> None:
        self.made, self.names, self.expired, self.foreign, self.purpose = 0, NAMES, False, False, "sslserver"

    def __call__(self, argv: Sequence[str], *, timeout: float, input: str) -> Completed:
        assert argv[0] == "openssl"
        return Completed(argv, 0, self.answer(list(argv[1:]), input), "")

    def answer(self, argv: list[str], text: str) -> str:
        def fail(reason: str) -> CommandFailed:
            return CommandFailed(object="openssl", reason=reason)

        if argv[0] == "genpkey":
            self.made += 1
            return f"key {self.made}\n"
        if argv[0] == "req":
            return f"request for {Path(argv[argv.index('-key') + 1]).read_text()}"
        if argv[0] == "verify":
            if self.foreign or argv[argv.index("-purpose") + 1] != self.purpose:
                raise fail("wrong CA")
            return "OK"
        if "-in" in argv:
            path = Path(argv[argv.index("-in") + 1])
            if not path.exists():
                raise fail("no such file")
            text = path.read_text()
        if "-checkend" in argv and self.expired:
            raise fail("expires")
        return self.names if "-ext" in argv else f"public {text.split()[-1]}"


@pytest.fixture
def openssl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> OpenSsl:
    fake = OpenSsl()
    monkeypatch.setattr(pki, "FOLDER", tmp_path / "pki")
    monkeypatch.setattr(pki, "run", fake)
    return fake


def call(monkeypatch: pytest.MonkeyPatch, stdin: str, *arguments: str) -> None:
    monkeypatch.setattr(pki.sys, "stdin", io.StringIO(stdin))
    pki.main(list(arguments))


def ask(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ca: str = "CA", how: str = "request"
) -> dict[str, object]:
    call(monkeypatch, ca, how, "bait", "hv1", "30")
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


@pytest.fixture
def certified(openssl: OpenSsl, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> OpenSsl:
    assert ask(monkeypatch, capsys) == {"changed": True, "request": "request for key 1\n"}
    call(monkeypatch, "certificate of 1", "accept", "bait")
    return openssl


def test_a_good_certificate_is_left_alone(
    certified: OpenSsl, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(monkeypatch, capsys) == {"changed": False, "request": ""}
    assert (pki.FOLDER / "bait.key").read_text() == "key 1\n"
    assert (pki.FOLDER / "bait.key").stat().st_mode & 0o777 == 0o600
    assert (pki.FOLDER / "bait.crt").read_text() == "certificate of 1"
    assert (pki.FOLDER / "ca.crt").read_text() == "CA\n"


@pytest.mark.parametrize(
    "wrong",
    [
        {"expired": True},
        {"foreign": True},
        {"names": NAMES.replace("hv1", "hv2")},
        {"names": ""},
        {"purpose": "sslclient"},
    ],
)
def test_any_other_is_replaced_with_a_new_key(
    certified: OpenSsl,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wrong: dict[str, object],
) -> None:
    vars(certified).update(wrong)
    assert ask(monkeypatch, capsys) == {"changed": True, "request": "request for key 2\n"}
    # Until the new one is there, the old one stays in use.
    assert (pki.FOLDER / "bait.key").read_text() == "key 1\n"


def test_another_ca_is_kept(
    certified: OpenSsl, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(monkeypatch, capsys, "other CA")["changed"]
    assert (pki.FOLDER / "ca.crt").read_text() == "other CA\n"


def test_looking_tells_what_would_be_done_and_does_nothing(
    openssl: OpenSsl, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(monkeypatch, capsys, how="look") == {"changed": True, "request": ""}
    assert not pki.FOLDER.exists()
    ask(monkeypatch, capsys)
    call(monkeypatch, "certificate of 1", "accept", "bait")
    assert ask(monkeypatch, capsys, how="look") == {"changed": False, "request": ""}
    assert ask(monkeypatch, capsys, "other CA", "look") == {"changed": True, "request": ""}
    openssl.expired = True
    assert ask(monkeypatch, capsys, how="look") == {"changed": True, "request": ""}
    assert (pki.FOLDER / "ca.crt").read_text() == "CA\n"
    assert not (pki.FOLDER / "bait.key.new").exists()


def test_a_certificate_for_another_key_is_refused(certified: OpenSsl, monkeypatch: pytest.MonkeyPatch) -> None:
    certified.expired = True
    call(monkeypatch, "CA", "request", "bait", "hv1", "30")
    with pytest.raises(SystemExit, match="does not belong to"):
        call(monkeypatch, "certificate of 1", "accept", "bait")
    assert (pki.FOLDER / "bait.key").read_text() == "key 1\n"


def test_usage(openssl: OpenSsl) -> None:
    with pytest.raises(SystemExit, match="request ROLE NODE DAYS"):
        pki.main(["request"])
