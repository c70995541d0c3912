# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this node's slurmd has in its own folder: which jobs have processes here, and which it must not start any more.

slurmctld tells slurmd of a requeue by a message of its own, which may arrive after the requeue has been answered. A
prolog that ends before that lets slurmd start the job here. So whoever has requeued a job that is in its prolog waits
until slurmd knows.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import time
from typing import Callable, Dict, Optional

from . import slurm_text as text

#: how long slurmd may take to hear of a requeue, in seconds; what it starts after that the second net catches
HEARS_S = 3.0
LOOK_S = 0.01
#: by how much clocks may differ: the job's last revocation is at least two minutes old
CLOCKS_S = 60.0
STATE_FILE = "cred_state"
#: job, when it was revoked, when its credential was made and when it runs out, in seconds since the epoch
_ENTRY = struct.Struct(">IQQQ")
#: where the number of entries may stand: newer releases begin with two bytes of their protocol's version
_HEADERS = (0, 2)


def revoked(state: bytes) -> Optional[Dict[int, int]]:
    """Return the jobs that slurmd must not start any more, and since when (seconds, epoch), from its state file.

    None where that is not as it was seen to be (22.05.8, 24.11.5).
    """
    for header in _HEADERS:
        at = header + 4
        if len(state) < at:
            break
        count = struct.unpack_from(">I", state, header)[0]
        if count and at + count * _ENTRY.size <= len(state):
            found = [_ENTRY.unpack_from(state, at + index * _ENTRY.size) for index in range(count)]
            if all(made <= ends for _job, _since, made, ends in found if ends):
                return {job: since for job, since, _made, _ends in found if since}
    return None


class Daemon:
    """See the module.

    :param folder: returns slurmd's folder (``SlurmdSpoolDir``)
    :param node: this node's name in Slurm
    :param pause: waits for so many seconds
    """

    def __init__(
        self, folder: Callable[[], str], node: str, pause: Callable[[float], object] = threading.Event().wait
    ) -> None:
        self._folder, self._node, self._pause = folder, node, pause

    def present(self) -> Dict[str, str]:
        """See ``Lrms.present``."""
        found = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder() or "/nonexistent") as files:
            for file in files:
                number = text.step(file.name, self._node)
                if number:
                    with contextlib.suppress(FileNotFoundError):  # it has just ended
                        found[f"{file.name} {file.stat(follow_symlinks=False).st_ctime_ns}"] = number
        return found

    def await_revoked(self, number: str, since: float) -> Optional[bool]:
        """Wait until slurmd knows that a job must not start; return whether it does, None where that can't be seen.

        :param since: when the job was requeued, by the machine's clock, in seconds since the epoch
        """
        end = time.monotonic() + HEARS_S
        while True:
            known = revoked(self._state() or b"")
            if known is None or not number.isdigit():
                return None
            # the time is slurmctld's, whose clock may be another one
            if known.get(int(number), 0) > since - CLOCKS_S:
                return True
            if time.monotonic() > end:
                return False
            self._pause(LOOK_S)

    def _state(self) -> Optional[bytes]:
        try:
            with open(os.path.join(self._folder(), STATE_FILE), "rb") as file:
                return file.read()
        except OSError:
            return None
