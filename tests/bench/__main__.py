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
from collections.abc import Callable
from pathlib import Path

from tests.bench import images, jobs, templates
from tests.bench.figures import show
from tests.e2e import lab

REPO = Path(__file__).resolve().parent.parent.parent

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


ON_LAB: dict[str, Callable[[int], None]] = {
    "job_start_pool": jobs.job_start_pool,
    "job_start_direct": jobs.job_start_direct,
    "job_start_restore": jobs.job_start_restore,
    "job_start_cold": jobs.job_start_cold,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="virtual jobs of each kind (default: 7)")
    parser.add_argument("--only", choices=sorted([*WITHOUT_LAB, *ON_LAB, "turnover"]), help="this figure alone")
    parser.add_argument("--jobs", type=int, default=200, help="jobs in a row for turnover (default: 200)")
    options = parser.parse_args()
    if options.only in WITHOUT_LAB:
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
    if options.only == "turnover":
        jobs.turnover(options.jobs)
        return
    if options.only:
        ON_LAB[options.only](options.runs)
        return
    footprint()
    hook(200)
    for way in ON_LAB.values():
        way(options.runs)
    for figure in WITHOUT_LAB.values():
        figure()


if __name__ == "__main__":
    main()
