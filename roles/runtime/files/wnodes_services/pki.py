# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's certificates: the key is made here and never leaves.

``request ROLE NODE DAYS`` reads the site's CA certificate from standard input, keeps it, and prints as JSON whether it
changed and, where the certificate of ROLE is missing, wrong or ends within DAYS days, a certificate request.
``look ROLE NODE DAYS`` does nothing, and prints whether ``request`` would.
``accept ROLE`` reads the signed certificate from standard input and puts it into use with its key.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from wnodes.model.errors import CommandFailed
from wnodes.process import run

FOLDER = Path("/etc/wnodes/pki")
_TIMEOUT_S = 30.0
#: roles that are called over TLS
SERVERS = ("nameserver", "hypervisor", "bait")


def _openssl(*arguments: str, text: str = "") -> str:
    return run(["openssl", *arguments], timeout=_TIMEOUT_S, input=text).stdout


def _write(path: Path, text: str, mode: int) -> None:
    partial = path.with_suffix(path.suffix + ".partial")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="ascii") as file:
        file.write(text)
        os.fsync(file.fileno())
    os.chmod(partial, mode)
    os.rename(partial, path)


def _public_key(*arguments: str, text: str = "") -> str:
    return _openssl(*arguments, "-noout", "-pubkey", text=text)


def _good(role: str, node: str, days: int, ca: Path) -> bool:
    """Whether the certificate is there, whole, ours, for this node, and good for ``days`` days more."""
    certificate, key = FOLDER / f"{role}.crt", FOLDER / f"{role}.key"
    try:
        # one of an earlier release may lack the purpose
        purpose = "sslserver" if role in SERVERS else "sslclient"
        _openssl("verify", "-purpose", purpose, "-CAfile", str(ca), str(certificate))
        _openssl("x509", "-in", str(certificate), "-noout", "-checkend", str(days * 86400))
        names = _openssl("x509", "-in", str(certificate), "-noout", "-ext", "subjectAltName")
        same = _public_key("x509", "-in", str(certificate)) == _openssl("pkey", "-in", str(key), "-pubout")
    except CommandFailed:
        return False
    return same and set(re.findall(r"DNS:([^,\s]+)", names)) == {f"{role}.wnodes", f"{node}.{role}.wnodes"}


def request(role: str, node: str, days: int, act: bool = True) -> dict[str, object]:
    """Keep the CA of standard input; return what is to be done.

    :param act: else only tell
    """
    ca, text = FOLDER / "ca.crt", sys.stdin.read().strip() + "\n"
    changed = not ca.exists() or ca.read_text(encoding="ascii") != text
    if not act:
        return {"changed": changed or not _good(role, node, days, ca), "request": ""}
    FOLDER.mkdir(mode=0o755, parents=True, exist_ok=True)
    if changed:
        _write(ca, text, 0o644)
    if _good(role, node, days, ca):
        return {"changed": changed, "request": ""}
    key = FOLDER / f"{role}.key.new"
    _write(key, _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1"), 0o600)
    return {"changed": True, "request": _openssl("req", "-new", "-key", str(key), "-subj", f"/CN={node}")}


def accept(role: str) -> None:
    """Use the certificate of standard input with the key its request was made with."""
    certificate, key = sys.stdin.read(), FOLDER / f"{role}.key.new"
    if _public_key("x509", text=certificate) != _openssl("pkey", "-in", str(key), "-pubout"):
        raise SystemExit(f"the certificate for {role} does not belong to {key}: run `request` again")
    os.rename(key, FOLDER / f"{role}.key")
    _write(FOLDER / f"{role}.crt", certificate, 0o644)


def main(arguments: list[str]) -> None:
    """Run as a program."""
    if len(arguments) == 4 and arguments[0] in ("request", "look"):
        print(json.dumps(request(arguments[1], arguments[2], int(arguments[3]), arguments[0] == "request")))
    elif len(arguments) == 2 and arguments[0] == "accept":
        accept(arguments[1])
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
