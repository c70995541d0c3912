# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A package repository of our own for images, and how much of an image an update changes."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.integration.image_run import command

CHUNK = 64 << 10
BULK = 50_000_000
#: where the appliance finds this machine
HOST = "169.254.2.2"


class Repository:
    """A flat repository with one package of incompressible data, as it is now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        handler = functools.partial(_Quiet, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.source = f"deb [trusted=yes] http://{HOST}:{self.server.server_address[1]}/ ./\n"

    def offer(self, version: str, size: int) -> None:
        tree = self.folder / f"tree-{version}"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "opt").mkdir()
        about = (
            f"Package: wnodes-bulk\nVersion: {version}\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\n"
        )
        (tree / "DEBIAN" / "control").write_text(about + "Description: bulk\n")
        (tree / "opt" / "bulk").write_bytes(os.urandom(size))
        deb = self.folder / f"bulk-{version}.deb"
        command("dpkg-deb", "-Znone", "--root-owner-group", "--build", str(tree), str(deb))
        sums = f"Size: {deb.stat().st_size}\nSHA256: {hashlib.sha256(deb.read_bytes()).hexdigest()}\n"
        (self.folder / "Packages").write_text(f"{about}Filename: ./{deb.name}\n{sums}Description: bulk\n")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def repository_in(folder: Path) -> Iterator[Repository]:
    """Serve a repository from a new folder below ``folder``."""
    (folder / "repository").mkdir()
    made = Repository(folder / "repository")
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join(10)


def differing(one: Path, other: Path) -> int:
    """Return how many bytes of two files lie in aligned chunks of 64 KiB that differ."""
    count = 0
    with one.open("rb") as left, other.open("rb") as right:
        while True:
            pair = left.read(CHUNK), right.read(CHUNK)
            if not any(pair):
                return count * CHUNK
            count += pair[0] != pair[1]
