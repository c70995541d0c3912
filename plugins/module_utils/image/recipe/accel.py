# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the appliance runs on: KVM only where a real guest kernel has booted with it on this machine."""

from __future__ import annotations

import glob
import os
from typing import Callable

_KERNELS = "/boot/vmlinuz-*"  # libguestfs builds its appliance around the newest of these


def decide(setting: str, boots: Callable[[str, str], bool], kernels: str = _KERNELS) -> str:
    """Return ``kvm`` or ``tcg`` for ``auto``, ``kvm`` or ``tcg``; no kernel to try with means ``tcg``.

    :param boots: says whether a kernel, given by path and an identity of its content, boots with KVM
    """
    if setting != "auto":
        return setting
    found = sorted(glob.glob(kernels), key=os.path.getmtime)
    if not found:
        return "tcg"
    status = os.stat(found[-1])
    return "kvm" if boots(found[-1], f"{found[-1]}:{status.st_size}:{status.st_mtime_ns}") else "tcg"
