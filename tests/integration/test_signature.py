# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures with the site's own authority and real openssl: who may sign, and what is found out."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.releases import MANIFEST, TAG, release
from wnodes.image.signature import Keyring, Signer
from wnodes.model.clock import FakeClock
from wnodes.model.errors import ImageError, UnavailableError
from wnodes.model.image import Manifest, Release

CA = Path(__file__).resolve().parents[2] / "roles" / "runtime" / "files" / "ca.py"
NOW = 2_000_000.0


@dataclass(frozen=True)
class Site:
    """A certificate authority in a folder."""

    folder: Path

    @property
    def authority(self) -> str:
        return str(self.folder / "ca.crt")

    def certificate(self, role: str, name: str, days: int = 2) -> Signer:
        """Return one who has a certificate for ``role``."""
        key, request, certificate = (str(self.folder / f"{role}-{name}.{end}") for end in ("key", "csr", "crt"))
        subprocess.run([sys.executable, CA, self.folder, "show"], check=True, capture_output=True)
        new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        subprocess.run([*new, "-keyout", key, "-subj", "/CN=x", "-out", request], check=True, capture_output=True)
        signed = subprocess.run(
            [sys.executable, CA, self.folder, "sign", role, name, str(days)],
            input=Path(request).read_bytes(),
            check=True,
            capture_output=True,
        )
        Path(certificate).write_bytes(signed.stdout)
        return Signer(key, certificate)

    def keyring(self, *signers: str) -> Keyring:
        return Keyring(self.authority, signers, clock=FakeClock(NOW))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def signed(signer: Signer, manifest: Manifest = MANIFEST) -> Release:
    plain = release(manifest)
    return replace(plain, signature=signer.sign(plain.manifest))


def test_what_a_signer_signed_is_good_and_names_the_signer(site: Site) -> None:
    good = signed(site.certificate("signer", "builder"))
    assert site.keyring().verify(good, TAG) == (MANIFEST, "builder")
    assert site.keyring("other", "builder").verify(good, TAG)[1] == "builder"


def test_a_stock_tool_agrees(site: Site, tmp_path: Path) -> None:
    good = signed(site.certificate("signer", "builder"))
    (tmp_path / "m").write_text(good.manifest)
    (tmp_path / "s").write_text(good.signature)
    argv = ["openssl", "cms", "-verify", "-binary", "-inform", "PEM", "-in", tmp_path / "s", "-content", tmp_path / "m"]
    subprocess.run([*argv, "-CAfile", site.authority, "-out", "/dev/null"], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"signature": ""}, "is not signed"),
        ({"signature": "-----BEGIN CMS-----\nx\n-----END CMS-----\n"}, "signature is wrong"),
        ({"manifest": release(replace(MANIFEST, cmdline="init=/bin/sh")).manifest}, "signature is wrong"),
        ({"manifest": " " * 70_000}, "longer than"),
    ],
)
def test_what_was_changed_after_signing_is_found_out(site: Site, change: dict[str, str], said: str) -> None:
    good = signed(site.certificate("signer", "builder"))
    with pytest.raises(ImageError, match=said):
        site.keyring().verify(replace(good, **change), TAG)


@pytest.mark.parametrize("role", ["bait", "hypervisor", "nameserver", "manager"])
def test_other_certificates_of_the_site_sign_nothing(site: Site, role: str) -> None:
    with pytest.raises(ImageError, match="unsuitable certificate purpose"):
        site.keyring().verify(signed(site.certificate(role, "hv1")), TAG)


def test_a_signer_of_another_authority_is_nobody_whatever_its_name(site: Site, tmp_path: Path) -> None:
    forged = signed(Site(tmp_path / "elsewhere").certificate("signer", "builder"))
    site.certificate("signer", "builder")
    with pytest.raises(ImageError, match="signature is wrong"):
        site.keyring("builder").verify(forged, TAG)


def test_only_the_named_signers_count(site: Site) -> None:
    good = signed(site.certificate("signer", "builder"))
    with pytest.raises(ImageError, match="signed by a signer who is not allowed"):
        site.keyring("other").verify(good, TAG)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (replace(MANIFEST, expires=int(NOW)), "has expired"),
        (replace(MANIFEST, created=int(NOW) + 3600), "in the future"),
        (replace(MANIFEST, tags=("other_debian12_x86_64",)), "signed for other tags"),
    ],
)
def test_a_good_signature_under_a_statement_that_does_not_hold(site: Site, manifest: Manifest, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        site.keyring().verify(signed(site.certificate("signer", "builder"), manifest), TAG)


def test_a_signer_whose_certificate_ran_out_is_refused(site: Site) -> None:
    with pytest.raises(ImageError, match="certificate has expired"):
        site.keyring().verify(signed(site.certificate("signer", "builder", days=-1)), TAG)


def test_the_end_of_a_signer_is_its_certificate_s(site: Site, tmp_path: Path) -> None:
    signer = site.certificate("signer", "builder", days=2)
    assert signer.until() == pytest.approx(time.time() + 2 * 86400, abs=60)
    with pytest.raises(ImageError, match="no certificate"):
        Signer(signer.key, str(tmp_path / "none")).until()


def test_a_key_that_is_not_the_certificates_signs_nothing(site: Site) -> None:
    one, other = site.certificate("signer", "one"), site.certificate("signer", "other")
    with pytest.raises(ImageError, match="is the key that of the certificate"):
        Signer(one.key, other.certificate).sign("text")


def test_a_missing_authority_is_told_apart_from_a_bad_image(site: Site, tmp_path: Path) -> None:
    good = signed(site.certificate("signer", "builder"))
    with pytest.raises(UnavailableError, match="is missing"):
        Keyring(str(tmp_path / "none"), clock=FakeClock(NOW)).verify(good, TAG)
