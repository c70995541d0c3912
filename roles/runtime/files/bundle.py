# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes what the nodes install, on the controller: ``bundle.py CACHE REQUIREMENTS LIBRARY SERVICES PYTHON``.

CACHE gets two files, each named by a hash of what went into it and made only if it is not there yet:
``wheels-<hash>.tar`` holds the wheels of REQUIREMENTS for Python version PYTHON (found with this machine's own pip and
its configuration), ``wnodes_farm-<version>-py3-none-any.whl`` holds LIBRARY as package ``wnodes`` and the folder
SERVICES. Their paths and versions are printed as JSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

VERSION = "0.1.0"
ENTRY_POINTS = "[console_scripts]\nwnodes = wnodes_services.cli.main:main\n"
#: of every file in the wheel: the same content must give the same file
DATE = (1980, 1, 1, 0, 0, 0)


def short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def wheels(cache: Path, requirements: Path, python: str) -> Path:
    target = cache / f"wheels-{short(requirements.read_bytes() + python.encode())}.tar"
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        options = ["--only-binary=:all:", f"--python-version={python}", f"--dest={scratch}/wheels"]
        subprocess.run([*command, *options, "--requirement", str(requirements)], check=True, stdout=sys.stderr)
        with tarfile.open(f"{scratch}/tar", "w") as archive:
            for wheel in sorted(Path(scratch, "wheels").iterdir()):
                archive.add(wheel, wheel.name)
        os.rename(f"{scratch}/tar", target)
    return target


def sources(library: Path, services: Path) -> dict[str, bytes]:
    files = {}
    for folder, package in ((library, "wnodes"), (services, services.name)):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                files[f"{package}/{path.relative_to(folder)}"] = path.read_bytes()
    files.setdefault("wnodes/__init__.py", b"")
    return files


def library_wheel(cache: Path, library: Path, services: Path) -> tuple[Path, str]:
    files = sources(library, services)
    everything = b"".join(name.encode() + b"\0" + short(content).encode() for name, content in sorted(files.items()))
    version = f"{VERSION}+{short(everything + ENTRY_POINTS.encode())}"
    target = cache / f"wnodes_farm-{version}-py3-none-any.whl"
    if target.exists():
        return target, version
    info = f"wnodes_farm-{version}.dist-info"
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: wnodes-farm\nVersion: {version}\n".encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: wnodes\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = ENTRY_POINTS.encode()
    record = ""
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(content)}\n"
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    partial = f"{target}.{os.getpid()}"
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, DATE), content, zipfile.ZIP_DEFLATED)
    os.rename(partial, target)
    return target, version


def main() -> None:
    cache, requirements, library, services = map(Path, sys.argv[1:5])
    cache.mkdir(parents=True, exist_ok=True)
    wheel, version = library_wheel(cache, library, services)
    wheelhouse = wheels(cache, requirements, sys.argv[5])
    print(json.dumps({"wheels": str(wheelhouse), "library": str(wheel), "version": version}))


if __name__ == "__main__":
    main()
