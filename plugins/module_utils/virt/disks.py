# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disks of a VM: an overlay that takes its writes, and a scratch disk that is all holes at first."""

from __future__ import annotations

import os
from typing import Callable, Tuple

from ..process import Completed
from .policy import SCRATCH

TOOL_S = 60.0

Run = Callable[..., Completed]


def make_overlay(run: Run, below: Tuple[str, str], path: str) -> None:
    """Make the qcow2 file ``path``, or make it anew, over ``below`` (path and format).

    :raises CommandFailed: qemu-img failed
    """
    # small clusters with sub-clusters: the first write to a block copies 2 KiB of the base, not 64
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on", "-b", below[0], "-F", below[1], path]
    run(argv, timeout=TOOL_S)
    os.chmod(path, 0o600)


def make_scratch(run: Run, path: str, size_mib: int) -> None:
    """Make the raw file ``path`` with an empty ext4.

    :raises CommandFailed: mke2fs failed
    """
    # a sparse file reads as zeros, so nothing but the superblocks has to be written
    with open(path, "wb") as file:
        file.truncate(size_mib << 20)
    os.chmod(path, 0o600)
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", SCRATCH, "-m", "0", path], timeout=TOOL_S)


def copy_sparse(run: Run, source: str, path: str) -> None:
    """Copy a file with its holes.

    :raises CommandFailed: cp failed
    """
    run(["cp", "--sparse=always", "--reflink=auto", source, path], timeout=TOOL_S)
    os.chmod(path, 0o600)
