# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures of manifests: detached CMS over X.509, made and checked by openssl.

Check one by hand, with the files of a published image::

    openssl cms -verify -binary -inform PEM -in manifest.json.p7s -content manifest.json -CAfile ca.crt -out /dev/null
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import tempfile
import threading
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Callable, Dict, Tuple

from ..model.clock import Clock
from ..model.errors import CommandFailed, ImageError, UnavailableError
from ..model.image import MANIFEST_LIMIT, Manifest, Release, parse_manifest
from ..process import Completed, run

#: in a signer's certificate: ``signer.wnodes`` and ``<name>.signer.wnodes``
ROLE = "signer.wnodes"
TOOL_S = 20.0
#: seconds after which a certificate is looked at again: it may have run out
CHECKED_S = 600.0
#: seconds that the clocks of signer and verifier may be apart
SKEW_S = 300.0

_NAMES = re.compile(r"DNS:([A-Za-z0-9.-]+)")


@dataclass(frozen=True)
class Signer:
    """Signs with a private key: paths of key and certificate, both PEM."""

    key: str
    certificate: str
    run: Callable[..., Completed] = run

    def until(self) -> int:
        """Return when the certificate ends, seconds since the epoch; no signature outlives it.

        :raises ImageError: it can't be read
        """
        argv = ["openssl", "x509", "-in", self.certificate, "-noout", "-enddate"]
        try:
            ends = self.run(argv, timeout=TOOL_S).stdout.partition("=")[2].strip()
            return int(ssl.cert_time_to_seconds(ends))
        except (CommandFailed, ValueError) as error:
            raise ImageError(object="signature", value=self.certificate, reason=f"no certificate: {error}") from None

    def sign(self, text: str) -> str:
        """Return the detached signature of ``text``, PEM.

        :raises ImageError: openssl can't sign with this key and certificate
        """
        with tempfile.TemporaryDirectory(prefix="wnodes-sign-") as folder:
            content = os.path.join(folder, "manifest")
            _write(content, text)
            argv = ["openssl", "cms", "-sign", "-binary", "-md", "sha256", "-nosmimecap", "-in", content]
            argv += ["-signer", self.certificate, "-inkey", self.key, "-outform", "PEM"]
            try:
                return self.run(argv, timeout=TOOL_S).stdout
            except CommandFailed as error:
                raise ImageError(
                    object="signature", value=self.key, reason=error.reason, hint="is the key that of the certificate?"
                ) from None


class Keyring:
    """Who may sign images for this site.

    :param authority: file of the certificate authority (PEM) that issues signers' certificates; no other counts
    :param signers: names of signers that are trusted; empty: all whom the authority made signers
    """

    def __init__(
        self,
        authority: str,
        signers: Tuple[str, ...] = (),
        *,
        clock: Clock,
        run: Callable[..., Completed] = run,
    ) -> None:
        self._authority, self._signers = authority, signers
        self._clock, self._run = clock, run
        self._lock = threading.Lock()
        self._checked: Dict[str, Tuple[float, str]] = {}

    def verify(self, release: Release, tag: str) -> Tuple[Manifest, str]:
        """Return the manifest of ``release`` and its signer's name, if it is good for ``tag`` now.

        :raises ImageError: unsigned, wrongly signed, by somebody else, expired, from the future, or for other tags
        :raises UnavailableError: it can't be checked now
        """
        what = f"image of tag {tag}"
        if not release.signature.strip():
            raise ImageError(object=what, reason="is not signed", hint="publish it with the key of a signer")
        if max(len(release.manifest), len(release.signature)) > MANIFEST_LIMIT:
            raise ImageError(object=what, reason=f"its manifest or signature is longer than {MANIFEST_LIMIT}")
        signer = self._signer(release, what)
        if self._signers and signer not in self._signers:
            raise ImageError(
                object=what,
                value=signer,
                reason="is signed by a signer who is not allowed",
                hint=f"may: {', '.join(self._signers)}",
            )
        manifest = parse_manifest(release.manifest, what)
        now = self._clock.wall()
        if tag not in manifest.tags:
            raise ImageError(object=what, value=", ".join(manifest.tags), reason="is signed for other tags")
        if manifest.expires and manifest.expires <= now:
            raise ImageError(object=what, value=_day(manifest.expires), reason="has expired", hint="publish it anew")
        if manifest.created > now + SKEW_S:
            raise ImageError(object=what, value=_day(manifest.created), reason="is signed in the future")
        return manifest, signer

    def _signer(self, release: Release, what: str) -> str:
        """Return who signed; what was found right a short while ago is not asked again."""
        key = hashlib.sha256(f"{release.manifest}\0{release.signature}".encode()).hexdigest()
        now = self._clock.now()
        with self._lock:
            at, signer = self._checked.get(key, (0.0, ""))
        if not signer or not at <= now < at + CHECKED_S:
            signer = self._ask_openssl(release, what)
            with self._lock:
                self._checked = {old: seen for old, seen in self._checked.items() if now < seen[0] + CHECKED_S}
                self._checked[key] = now, signer
        return signer

    def _ask_openssl(self, release: Release, what: str) -> str:
        if not os.path.exists(self._authority):
            raise UnavailableError(
                object=what,
                value=self._authority,
                reason="the authority that signers' certificates come from is missing",
            )
        with tempfile.TemporaryDirectory(prefix="wnodes-verify-") as folder:
            content, signature, found = (os.path.join(folder, name) for name in ("manifest", "signature", "signer"))
            _write(content, release.manifest)
            _write(signature, release.signature)
            # no other authority than ours, whatever the machine trusts for web sites
            argv = ["openssl", "cms", "-verify", "-binary", "-inform", "PEM", "-in", signature, "-content", content]
            argv += ["-CAfile", self._authority, "-no-CApath", "-no-CAstore", "-signer", found, "-out", os.devnull]
            done = self._run(argv, timeout=TOOL_S, check=False)
            if done.rc != 0:
                raise ImageError(object=what, reason=f"its signature is wrong: {_said(done.stderr)}")
            shown = self._run(["openssl", "x509", "-in", found, "-noout", "-ext", "subjectAltName"], timeout=TOOL_S)
            with open(found, encoding="ascii") as stream:
                signed_by = stream.read().count("BEGIN CERTIFICATE")
        names = _NAMES.findall(shown.stdout)
        own = [name[: -len(ROLE) - 1] for name in names if name.endswith("." + ROLE)]
        if signed_by != 1 or ROLE not in names or len(own) != 1:
            raise ImageError(object=what, value=", ".join(names), reason="is not signed by one signer of images")
        return str(own[0])


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8", newline="") as stream:
        stream.write(text)


def _said(stderr: str) -> str:
    """Return the reasons in what openssl says, without its addresses and source lines."""
    reasons = [line.split(":", 3)[-1].split(":../")[0] for line in stderr.splitlines() if ":error:" in line]
    details = [line.rpartition(":")[2].strip() for line in stderr.splitlines() if "erify error:" in line]
    return "; ".join(dict.fromkeys(details or reasons)) or "it can't be verified"


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
