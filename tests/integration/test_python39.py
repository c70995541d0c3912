# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The oldest Python that modules, library and hook meet on nodes: Debian 11's own, in a tree of its packages."""

from __future__ import annotations

import hashlib
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import ansible
import pytest

ROOT = Path(__file__).resolve().parents[2]
#: beside the lab's trees: `make lab-down LAB_ARGS='-e purge=true'` removes it
CACHE = Path("/var/cache/wnodes-lab")
BUILD = ROOT / "roles" / "lab" / "files" / "build_base.sh"
SUITE, PACKAGES = "bullseye", "python3"
#: the last ones for Python 3.9, and what pip leaves out because its own Python does not need it
REQUIREMENTS = (
    "pytest>=8.4,<9",
    "hypothesis>=6.140,<6.142",
    "iniconfig<2.2",
    "PyYAML>=6,<7",
    "exceptiongroup",
    "tomli",
    "typing-extensions",
)

#: all mounts are of a namespace of its own: they go with the process
INSIDE = """
set -e
tree=$1 root=$2 ansible=$3
shift 3
mount --rbind /dev "$tree/dev"
mount -t proc proc "$tree/proc"
mount -t tmpfs tmpfs "$tree/tmp"
mkdir -p "$tree/src" "$tree/opt/tests/ansible" "$tree/usr/libexec/wnodes/hook"
mount --bind "$ansible" "$tree/opt/tests/ansible"
mount --bind -o ro "$root" "$tree/src"
mount --bind "$root/plugins/module_utils/hook" "$tree/usr/libexec/wnodes/hook"
install -m 755 "$root/roles/bait/files/wnodes-hook" "$tree/usr/libexec/wnodes/"
exec chroot "$tree" env -i -C /src HOME=/tmp PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH=/opt/tests \\
    PYTHONDONTWRITEBYTECODE=1 HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis "$@"
"""

TIME_HOOK = """
import json, subprocess, time
spent = []
for _ in range(20):
    start = time.perf_counter()
    subprocess.run(["/usr/libexec/wnodes/wnodes-hook", "slurm", "prolog"], env={"SLURM_JOB_ID": "1"}, check=True)
    spent.append(1000 * (time.perf_counter() - start))
print(json.dumps(spent))
"""


def within(tree: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run ``argv`` in the tree, with this repository as /src and what a module gets of Ansible on its path."""
    inside = ["sh", "-c", INSIDE, "sh", str(tree), str(ROOT), str(Path(ansible.__file__).parent), *argv]
    command = ["unshare", "--mount", "--propagation=private", *inside]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


@pytest.fixture(scope="session")
def tree() -> Path:
    """Return a tree of Debian 11 with pytest for its Python; made once."""
    made_of = json.dumps([BUILD.read_text(), SUITE, PACKAGES, REQUIREMENTS])
    tree = CACHE / f"python39-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    if not tree.exists():
        command = ["unshare", "--mount", "--propagation=private", str(BUILD), str(tree), SUITE, PACKAGES]
        subprocess.run(command, check=True, timeout=900)
    if not (tree / "opt" / "tests").exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--python-version=3.9"]
        partial = tree / "opt" / "tests.partial"
        subprocess.run([*pip, f"--target={partial}", *REQUIREMENTS], check=True, timeout=300)
        partial.rename(tree / "opt" / "tests")
    return tree


def test_library_and_modules_pass_their_unit_tests(tree: Path) -> None:
    assert within(tree, "python3", "--version").stdout.startswith("Python 3.9.")
    done = within(tree, "python3", "-m", "pytest", "-q", "-o", "cache_dir=/tmp/pytest", "tests/unit/plugins")
    passed = re.search(r"^(\d+) passed", done.stdout, re.MULTILINE)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    assert passed is not None, done.stdout[-2000:]
    print(f"{passed[1]} unit tests passed on Python 3.9")
    assert int(passed[1]) > 1000


def test_the_hook_lets_a_real_job_run(tree: Path) -> None:
    done = within(tree, "python3", "-c", TIME_HOOK)
    assert done.returncode == 0, done.stderr
    print(f"the hook took {statistics.median(json.loads(done.stdout)):.1f} ms on Python 3.9")
