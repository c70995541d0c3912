# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A busy machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.integration.libvirt_fixture import until
from wnodes.load import stretch


@contextmanager
def hogs(per_cpu: int = 8) -> Iterator[None]:
    """Let so many processes for each CPU do nothing but run."""
    command = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(command) for _ in range(per_cpu * (os.cpu_count() or 1))]
    try:
        until("the machine is busy", lambda: stretch() > 3.0)
        yield
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.wait()
