# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images over a real network, into real processes that are killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.integration.plugins.module_utils.image.web_fixture import Web, serving
from tests.unit.plugins.module_utils.image.image_fixture import qcow2
from wnodes.image.cache import ImageCache
from wnodes.image.fetch import fetch
from wnodes.model.errors import UnavailableError
from wnodes.model.image import Artefact, Image

ROOT = Path(__file__).resolve().parents[5]
DISK = qcow2(1 << 30) + os.urandom(24 << 20)
LIMIT_S = 60.0

#: argv: cache, image (JSON), failpoints
ENSURE = """
import json, sys
import tests.conftest
from wnodes.image.cache import ImageCache
from wnodes.model.clock import Failpoints
from wnodes.model.image import Artefact, Image
root, image, points = sys.argv[1:]
image = {name: Artefact(**value) if isinstance(value, dict) else value for name, value in json.loads(image).items()}
print(ImageCache(root, Failpoints.from_environment(points)).ensure(Image(**image)).disk)
"""


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        server.files = {"/disk": DISK, "/kernel": b"kernel", "/initrd": b"initrd"}
        yield server


@pytest.fixture
def image(web: Web) -> Image:
    parts = {
        path[1:]: Artefact(web.url(path), hashlib.sha256(content).hexdigest()) for path, content in web.files.items()
    }
    return Image(
        parts["disk"].digest, "qcow2", 1 << 30, len(DISK), **parts, root_device="/dev/vda", cmdline=""
    )  # fmt: skip


@contextlib.contextmanager
def child(root: Path, image: Image, points: str = "") -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", ENSURE, str(root), json.dumps(asdict(image)), points]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def whole(root: Path, image: Image) -> bool:
    folder = root / image.digest
    parts = (("disk.qcow2", image.disk), ("vmlinuz", image.kernel), ("initrd", image.initrd))
    return all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == part.digest for name, part in parts)


def test_a_fetch_killed_in_mid_download_sends_only_the_rest_again(tmp_path: Path, web: Web, image: Image) -> None:
    web.hold["/disk"] = 10 << 20
    partial = tmp_path / f".{image.digest}.partial" / "disk.qcow2.partial"
    with child(tmp_path, image) as process:
        assert web.held.wait(LIMIT_S)
        end = time.monotonic() + LIMIT_S
        while partial.stat().st_size < 10 << 20:
            assert time.monotonic() < end
            threading.Event().wait(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait(LIMIT_S) == -signal.SIGKILL
    assert not (tmp_path / image.digest).exists()
    here = partial.stat().st_size
    web.hold.clear()
    with child(tmp_path, image) as process:
        assert process.communicate(timeout=LIMIT_S)[0].strip() == str(tmp_path / image.digest / "disk.qcow2")
    assert whole(tmp_path, image)
    assert [(path, asked) for path, asked, _sent in web.log if path != "/disk"] == [("/kernel", ""), ("/initrd", "")]
    assert ("/disk", f"bytes={here}-", len(DISK) - here) in web.log


@pytest.mark.parametrize("place", ["cache.copied", "cache.before_rename"])
def test_a_fetch_killed_between_its_steps_shows_nothing_and_is_gone_on_with(
    tmp_path: Path, web: Web, image: Image, place: str
) -> None:
    with child(tmp_path, image, place) as process:
        assert process.wait(LIMIT_S) == -signal.SIGKILL
    assert not (tmp_path / image.digest).exists()
    ImageCache(str(tmp_path)).ensure(image)
    assert whole(tmp_path, image)
    assert sorted(path for path, _asked, _sent in web.log) == ["/disk", "/initrd", "/kernel"]


def test_processes_that_want_one_image_wait_for_one_fetch(tmp_path: Path, web: Web, image: Image) -> None:
    web.hold["/disk"] = 1 << 20
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(child(tmp_path, image)) for _number in range(4)]
        assert web.held.wait(LIMIT_S)
        web.go.set()
        assert len({process.communicate(timeout=LIMIT_S)[0] for process in children}) == 1
        assert [process.returncode for process in children] == [0] * 4
    assert sorted(path for path, _asked, _sent in web.log) == ["/disk", "/initrd", "/kernel"]


def test_redirects_are_followed_on_the_web_only(tmp_path: Path, web: Web, image: Image) -> None:
    canary = tmp_path / "canary"
    canary.write_bytes(b"kernel")
    web.redirects = {"/moved": web.url("/kernel"), "/file": f"file://{canary}", "/ftp": "ftp://127.0.0.1/kernel"}
    fetch(web.url("/moved"), str(tmp_path / "kernel"), image.kernel.digest)
    for path in ("/file", "/ftp"):
        with pytest.raises(UnavailableError, match="HTTP 302"):
            fetch(web.url(path), str(tmp_path / "other"), image.kernel.digest)
    assert not (tmp_path / "other").exists()


def test_a_server_without_a_certificate_we_trust_is_not_asked(
    tmp_path: Path, web: Web, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate, both = (tmp_path / name for name in ("key", "certificate", "both"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=site", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    web.secure(str(both))
    with pytest.raises(UnavailableError, match="certificate verify failed"):
        fetch(web.url("/kernel"), str(tmp_path / "kernel"), image.kernel.digest)
    assert web.log == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    fetch(web.url("/kernel"), str(tmp_path / "kernel"), image.kernel.digest)
    web.redirects["/down"] = web.url("/kernel").replace("https", "http")
    with pytest.raises(UnavailableError, match="HTTP 302"):
        fetch(web.url("/down"), str(tmp_path / "down"), image.kernel.digest)


def test_a_server_that_falls_silent_is_given_up_and_asked_again(
    tmp_path: Path, web: Web, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wnodes.image.fetch._STALL_S", 0.3)
    web.hold["/disk"] = 1 << 20

    def progress(done: int, total: int | None) -> None:
        if web.held.is_set():
            web.hold.clear()

    fetch(image.disk.location, str(tmp_path / "disk"), image.digest, progress=progress)
    web.go.set()
    resumed = [asked for path, asked, _sent in web.log if asked]
    assert len(resumed) == 1
    assert hashlib.sha256((tmp_path / "disk").read_bytes()).hexdigest() == image.digest
