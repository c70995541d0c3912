# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The site's certificate authority, on the controller. Needs only openssl.

``ca.py DIR show`` makes the CA in DIR if there is none and prints its certificate.
``ca.py DIR look`` prints its certificate, or nothing where there is no CA yet.
``ca.py DIR sign ROLE NODE DAYS`` reads a certificate request from standard input and prints a certificate that
speaks for ROLE on NODE. The names in it come from here: what the request says of itself is not asked.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import tempfile

CA_DAYS = 3650
USAGE = {
    "nameserver": "serverAuth",
    "hypervisor": "serverAuth,clientAuth",
    "bait": "serverAuth,clientAuth",
    "manager": "clientAuth",
    "signer": "emailProtection",
}
NODE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")


def openssl(*arguments: str, text: str = "") -> str:
    done = subprocess.run(["openssl", *arguments], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"openssl {' '.join(arguments)}: exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def make_ca(folder: str) -> None:
    certificate, key = os.path.join(folder, "ca.crt"), os.path.join(folder, "ca.key")
    if os.path.exists(certificate):
        return
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key]
    name = ["-subj", "/O=wnodes/CN=wnodes site CA", "-days", str(CA_DAYS)]
    limits = [
        "-addext",
        "basicConstraints=critical,CA:TRUE,pathlen:0",
        "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
    ]
    # Under its final name only when it is whole.
    openssl("req", "-x509", *new_key, *name, *limits, "-out", certificate + ".new")
    os.rename(certificate + ".new", certificate)


def sign(folder: str, role: str, node: str, days: str, request: str) -> str:
    if role not in USAGE or not NODE.match(node):
        sys.exit(f"{role} {node}: the role must be one of {', '.join(USAGE)}, the node a host name without dots")
    extensions = (
        "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
        f"extendedKeyUsage={USAGE[role]}\nsubjectAltName=DNS:{role}.wnodes,DNS:{node}.{role}.wnodes\n"
    )
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "extensions")
        with open(path, "w", encoding="ascii") as file:
            file.write(extensions)
        ca = ["-CA", os.path.join(folder, "ca.crt"), "-CAkey", os.path.join(folder, "ca.key")]
        serial = ["-set_serial", "0x" + os.urandom(16).hex()]
        return openssl("x509", "-req", *ca, *serial, "-days", days, "-extfile", path, text=request)


def main() -> None:
    if len(sys.argv) not in (3, 6) or sys.argv[2] not in ("show", "look", "sign"):
        sys.exit(__doc__)
    folder = sys.argv[1]
    certificate = os.path.join(folder, "ca.crt")
    if sys.argv[2] == "look" and not os.path.exists(certificate):
        return
    os.umask(0o077)
    os.makedirs(folder, exist_ok=True)
    # Ansible signs for several nodes at once.
    with open(os.path.join(folder, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_ca(folder)
    if sys.argv[2] in ("show", "look"):
        with open(certificate, encoding="ascii") as file:
            sys.stdout.write(file.read())
    else:
        sys.stdout.write(sign(folder, *sys.argv[3:], request=sys.stdin.read()))


if __name__ == "__main__":
    main()
