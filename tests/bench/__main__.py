# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures, on the lab: one JSON object a line. Run with ``make bench``.

``p50`` and ``p95`` are of the thing itself; ``yardstick`` is the p50 of the same measure on what the field has anyway,
taken in the same run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path

from tests.bench import images, templates
from tests.bench.figures import show
from tests.e2e import lab

REPO = Path(__file__).resolve().parent.parent.parent
HOME = lab.LAB / "site" / "home" / "alice"
FIRST_LINE = "#!/bin/sh\n: > first.$SLURM_JOB_ID\n"

#: runs on a node: argv's wall time from fork to exit, in ms, as JSON
TIME_PROCESS = """
import json, os, subprocess, sys, time
runs, argv = int(sys.argv[1]), sys.argv[2:]
environment = {**os.environ, "SLURM_JOB_ID": "1", "SLURM_JOB_UID": "0", "SLURM_JOB_PARTITION": "main"}
spent = []
for _ in range(runs):
    start = time.perf_counter()
    subprocess.run(argv, env=environment, check=True)
    spent.append(1000 * (time.perf_counter() - start))
print(json.dumps(spent))
"""


def hook(runs: int) -> None:
    """What the hook's process takes on a real job, against an interpreter that does nothing."""

    def timed(*argv: str) -> list[float]:
        printed = lab.ssh("hv1", "/usr/bin/python3", "-", str(runs), *argv, stdin=TIME_PROCESS)
        spent: list[float] = json.loads(printed)
        return spent

    bare = timed("/usr/bin/python3", "-I", "-S", "-c", "pass")
    show(
        "hook_real_job",
        timed("/usr/libexec/wnodes/wnodes-hook", "slurm", "prolog"),
        "ms",
        {"python3 -I -S -c pass": round(statistics.median(bare), 3)},
    )


def started(*options: str) -> tuple[str, float]:
    """Submit a job, wait until it is over; return its id and the seconds from submission to its first line.

    Both ends are read from the clock of the machine that all machines of the lab share: the file the first line makes
    is made by that machine's kernel, for a VM too.
    """
    before = time.time()
    number = lab.submit(FIRST_LINE, *options)
    mark = HOME / f"first.{number}"
    lab.until(f"job {number} to start", mark.exists, lab.START_S)
    spent = mark.stat().st_mtime - before
    mark.unlink()
    return number, spent


def job_start(runs: int) -> None:
    """Submit → first line of a job: on a VM that boots cold, and plainly on the node."""
    plain, cold, phases = [], [], []
    for _ in range(runs):
        plain.append(started()[1])
        number, spent = started("-C", lab.FEATURE)
        cold.append(spent)
        phases.append(lab.over(number)["seconds"])
        lab.until("the site to be clean", lambda: lab.left() == "", lab.CLEAN_S)
    names = [name for name in phases[0] if name not in ("RUNNING", "FINISHED")]
    medians = {name: round(statistics.median(run.get(name, 0.0) for run in phases), 2) for name in names}
    show("job_start_cold", cold, "s", {"plain Slurm start": round(statistics.median(plain), 3)}, phases=medians)


def footprint() -> None:
    """Memory (PSS) of a node's two services, idle."""
    script = (
        "for s in bait hypervisor; do"
        " awk '/^Pss:/ {print $2}' /proc/$(systemctl show -p MainPID --value wnodes-$s)/smaps_rollup; done"
    )
    sizes = []
    for node in lab.NODES:
        sizes.append(sum(int(kib) for kib in lab.sh(node, script).split()) / 1024)
    show("services_idle_pss", sizes, "MiB", {"limit": 160})


WITHOUT_LAB = {
    "image_fetch": images.image_fetch,
    "image_waiters": images.image_waiters,
    "image_customise": images.image_customise,
    "image_update": images.image_update,
    "template_restore": templates.template_restore,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="virtual jobs (default: 5)")
    parser.add_argument("--only", choices=sorted(WITHOUT_LAB), help="this figure, which needs no machine of the lab")
    options = parser.parse_args()
    if options.only:
        WITHOUT_LAB[options.only]()
        return
    prepared = subprocess.run(
        [str(REPO / ".venv/bin/python"), str(REPO / "tools/demo"), "--site-only"],
        capture_output=True,
        text=True,
        check=False,
    )
    if prepared.returncode:
        raise SystemExit(prepared.stdout + prepared.stderr)
    footprint()
    hook(200)
    job_start(options.runs)
    for figure in WITHOUT_LAB.values():
        figure()


if __name__ == "__main__":
    main()
