# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of VMs on this node: overlay, scratch disk, console, socket; one folder a VM."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import re
import shutil
from typing import BinaryIO, Callable, Tuple

from ..model.errors import NotFoundError, VirtError
from ..model.image import CachedImage
from ..process import Completed
from ..process import run as run_process
from ..virt.disks import make_overlay, make_scratch
from ..virt.policy import VmPaths
from .api import ConsolePart

log = logging.getLogger(__name__)

CONSOLE_LINES = 10
#: bytes of a console log that are told at once
CONSOLE_PIECE = 131072
_CONSOLE_TAIL = 8192
_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[^\[])")


def console_part(file: BinaryIO, offset: int) -> ConsolePart:
    """Return a piece of a console log from ``offset`` on; below 0: from so far before its end."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size + offset) if offset < 0 else offset
    start = file.seek(start if start <= size else 0)
    content = file.read(CONSOLE_PIECE)
    return ConsolePart(start, start + len(content), base64.b64encode(content).decode("ascii"))


class VmFiles:
    """Makes and throws away the files of VMs.

    :param state_dir: ``vms`` and ``trash`` are below it, on one file system
    """

    def __init__(self, state_dir: str, run: Callable[..., Completed] = run_process) -> None:
        self._vms, self._trash = os.path.join(state_dir, "vms"), os.path.join(state_dir, "trash")
        #: how programs are run here
        self.run = run

    def of(self, vm_id: str, scratch: bool) -> VmPaths:
        """Return where the files of a VM are."""
        folder = os.path.join(self._vms, vm_id)
        return VmPaths(
            overlay=os.path.join(folder, "root.qcow2"),
            scratch=os.path.join(folder, "scratch.raw") if scratch else "",
            console=os.path.join(folder, "console.log"),
            channel=os.path.join(folder, "channel.sock"),
        )

    def make_folder(self, vm_id: str) -> None:
        """Make an empty folder for the files; what a broken attempt left is thrown away first."""
        self.discard(vm_id)
        # QEMU, which is not root, has to get through; others can't look
        for folder in (self._vms, os.path.join(self._vms, vm_id)):
            os.makedirs(folder, exist_ok=True)
            os.chmod(folder, 0o711)  # noqa: S103 - the lint minds any bit for others

    def prepare(self, vm_id: str, image: CachedImage, scratch_mib: int) -> VmPaths:
        """Make the files anew; what a broken attempt left is thrown away first.

        :raises CommandFailed: qemu-img or mke2fs failed
        """
        self.make_folder(vm_id)
        files = self.of(vm_id, scratch_mib > 0)
        make_overlay(self.run, (image.disk, image.format), files.overlay)
        if files.scratch:
            make_scratch(self.run, files.scratch, scratch_mib)
        return files

    def console_tail(self, vm_id: str, lines: int = CONSOLE_LINES) -> str:
        """Return the last lines of a VM's console as plain text; empty where there are none."""
        try:
            with open(self.of(vm_id, False).console, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _CONSOLE_TAIL))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        # a guest decides what is in there: nothing but printable text may reach a terminal
        plain = _ESCAPES.sub("", text.replace("\r", ""))
        kept = ["".join(c for c in line if c.isprintable())[:200] for line in plain.split("\n") if line.strip()]
        return "\n".join(kept[-lines:])

    def console(self, vm_id: str, offset: int) -> ConsolePart:
        """Return a piece of a VM's console log, see ``HypervisorApi.console``."""
        try:
            with open(self.of(vm_id, False).console, "rb") as file:
                return console_part(file, offset)
        except OSError as error:
            raise NotFoundError(
                object=f"console of VM {vm_id}", reason=error.strerror or str(error), hint="it goes with its VM"
            ) from None

    def size_mib(self, vm_id: str) -> int:
        """Return the MiB that a VM's files take on the disk."""
        size = 0
        with contextlib.suppress(FileNotFoundError):  # there are none, or they are thrown away just now
            for entry in os.scandir(os.path.join(self._vms, vm_id)):
                size += entry.stat(follow_symlinks=False).st_blocks * 512
        return size >> 20

    def discard(self, vm_id: str) -> None:
        """Put a VM's files away at once; ``empty_trash`` frees their space, which may take seconds."""
        os.makedirs(self._trash, mode=0o700, exist_ok=True)
        for number in range(1000):
            try:
                os.rename(os.path.join(self._vms, vm_id), os.path.join(self._trash, f"{vm_id}.{number}"))
                return
            except FileNotFoundError:
                return
            except OSError:
                continue  # that name is in the trash already
        raise VirtError(object=f"files of VM {vm_id}", value=self._trash, reason="could not be moved to the trash")

    def empty_trash(self) -> None:
        """Delete what was put away."""
        for name in self._names(self._trash):
            path = os.path.join(self._trash, name)
            shutil.rmtree(path, ignore_errors=True)
            if os.path.exists(path):
                log.warning("%s could not be deleted", path)

    def all(self) -> Tuple[str, ...]:
        """Return the ids of VMs that have files."""
        return self._names(self._vms)

    @staticmethod
    def _names(folder: str) -> Tuple[str, ...]:
        try:
            return tuple(sorted(os.listdir(folder)))
        except FileNotFoundError:
            return ()
