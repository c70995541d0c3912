# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image module of this tree, run as Ansible would run it on a builder."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: the distribution's Python has the bindings of libguestfs; Ansible's own files it gets from the virtual environment
RUNNER = """
import json, sys
from ansible.module_utils.testing import patch_module_args
from ansible_collections.wnodes.farm.plugins.modules import image
with patch_module_args(json.load(sys.stdin)):
    image.main()
"""


def command(*argv: str) -> str:
    """Run a program and return what it writes."""
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=120).stdout


def digest(path: Path) -> str:
    """Return the sha256 (hex) of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(path: Path, *, check: bool = False, **options: Any) -> dict[str, Any]:
    """Run the module on the image ``path`` and return its answer."""
    site_packages = next((ROOT / ".venv" / "lib").glob("python3*")) / "site-packages"
    arguments = {"path": str(path), "accel": "tcg", **options, "_ansible_check_mode": check, "_ansible_diff": True}
    done = subprocess.run(
        ["/usr/bin/python3", "-c", RUNNER],
        input=json.dumps(arguments),
        env={**os.environ, "PYTHONPATH": f"{_collections()}:{site_packages}", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _collections() -> Path:
    """Return a folder in which this tree is the collection."""
    link = ROOT / ".cache" / "collections" / "ansible_collections" / "wnodes" / "farm"
    if not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(ROOT)
    return link.parents[2]
