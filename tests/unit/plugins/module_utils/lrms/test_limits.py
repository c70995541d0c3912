# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A daemon's limits are told as prlimit wants them."""

from __future__ import annotations

from pathlib import Path

from wnodes.lrms.limits import NAMES, limits_of, prlimit_options

#: of a slurmd on Debian 12
LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max file size             unlimited            unlimited            bytes
Max data size             unlimited            unlimited            bytes
Max stack size            unlimited            unlimited            bytes
Max core file size        0                    unlimited            bytes
Max resident set          unlimited            unlimited            bytes
Max processes             96365                96365                processes
Max open files            131072               131072               files
Max locked memory         unlimited            unlimited            bytes
Max address space         unlimited            unlimited            bytes
Max file locks            unlimited            unlimited            locks
Max pending signals       96365                96365                signals
Max msgqueue size         819200               819200               bytes
Max nice priority         0                    0
Max realtime priority     0                    0
Max realtime timeout      unlimited            unlimited            us
"""


def process(proc: Path, pid: int, comm: str, limits: str = LIMITS) -> None:
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "comm").write_text(comm + "\n")
    if limits:
        (proc / str(pid) / "limits").write_text(limits)


def test_each_limit_is_told() -> None:
    options = prlimit_options(LIMITS)
    assert len(options) == len(NAMES) == 16
    assert {"--nofile=131072:131072", "--core=0:unlimited", "--nice=0:0", "--rttime=unlimited:unlimited"} <= set(
        options
    )


def test_the_first_daemon_of_the_name_is_looked_at(tmp_path: Path) -> None:
    process(tmp_path, 5, "slurmstepd", LIMITS.replace("131072", "7"))
    process(tmp_path, 900, "slurmd", LIMITS.replace("131072", "8"))
    process(tmp_path, 70, "slurmd")
    (tmp_path / "self").mkdir()
    assert "--nofile=131072:131072" in limits_of("slurmd", str(tmp_path))


def test_without_a_daemon_nothing_is_limited(tmp_path: Path) -> None:
    process(tmp_path, 5, "slurmd", "")
    assert limits_of("slurmd", str(tmp_path)) == limits_of("other", str(tmp_path)) == ()
