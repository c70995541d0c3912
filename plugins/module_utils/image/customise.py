# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Customise an image in one appliance launch: compute the difference first, then apply that and nothing else."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from typing import Callable, ContextManager, Optional

from ..model.errors import ImageError
from . import packages
from .disk import TOOLS, DiskTools
from .guest import Factory, Guest, Handle, libguestfs, open_guest
from .header import check_header
from .nodes import Change, Directory, File, Link
from .operations import CommandOp, Recipe
from .plan import Difference, plan_packages, plan_rest

#: what goes into one message to the appliance; larger content is uploaded from a file
_INLINE = 1 << 20


@dataclass(frozen=True)
class Engine:
    """How images are opened and handled: the seams of this module.

    :param accel: ``kvm`` or ``tcg`` for the appliance
    """

    accel: str = "tcg"
    factory: Factory = libguestfs
    tools: DiskTools = TOOLS

    def customise(
        self,
        disk: str,
        format: str,
        recipe: Recipe,
        *,
        check: bool = False,
        afterwards: Optional[Callable[[Handle], None]] = None,
    ) -> Difference:
        """Bring the image ``disk`` to what ``recipe`` says and return what was (``check``: would be) different.

        A step that fails leaves the image as it was. ``check`` and an empty difference do not touch it at all.

        :param afterwards: called with the open image in the end, e.g. to look for what must not be published
        :raises ImageError: refused header, impossible operation, or a command that failed
        """
        check_header(disk, format)
        if check:
            with self._open(disk, format, recipe, readonly=True) as guest:
                lacking = plan_packages(guest.handle, recipe)
                difference = lacking + plan_rest(guest.handle, recipe, pending=bool(lacking))
                if afterwards is not None and not difference:
                    afterwards(guest.handle)
                return difference
        with self.tools.overlay(disk, format) as overlay:
            with self._open(overlay.path, "qcow2", recipe, readonly=False) as guest:
                difference = self._apply(guest, recipe)
                if afterwards is not None:
                    afterwards(guest.handle)
            if difference:
                overlay.commit()
        return difference

    def _open(self, disk: str, format: str, recipe: Recipe, *, readonly: bool) -> ContextManager[Guest]:
        return open_guest(
            disk, format, readonly=readonly, network=recipe.network, accel=self.accel, factory=self.factory
        )

    @staticmethod
    def _apply(guest: Guest, recipe: Recipe) -> Difference:
        lacking = plan_packages(guest.handle, recipe)
        if lacking:
            guest.writable()
            packages.install(guest.handle, lacking.packages)
        rest = plan_rest(guest.handle, recipe)
        if rest:
            guest.writable()
            apply(guest.handle, rest)
        return lacking + rest


def apply(handle: Handle, difference: Difference) -> None:
    """Do what ``difference`` says on a writable image, except for its packages."""
    for change in difference.changes:
        _write(handle, change)
    for command in difference.commands:
        _run(handle, command)
    if difference.commands or difference.packages:
        for path in difference.delete:
            handle.rm_rf(path)


def _run(handle: Handle, command: CommandOp) -> None:
    try:
        if command.shell is not None:
            handle.sh(command.shell)
        else:
            handle.command(list(command.argv))
    except RuntimeError as error:
        raise ImageError(object="command in the image", value=str(command), reason=str(error).strip()) from error


def _write(handle: Handle, change: Change) -> None:
    path, after = change.path, change.after
    if after is None:
        handle.rm_rf(path)
        return
    if change.before is not None and type(change.before) is not type(after):
        handle.rm_rf(path)
    if isinstance(after, Link):
        handle.rm_rf(path)
        handle.ln_s(after.target, path)
        return
    assert isinstance(after, (Directory, File))
    if isinstance(after, Directory):
        handle.mkdir_p(path)
    elif not isinstance(change.before, File) or change.before.content != after.content:
        _content(handle, path, after.content)
    handle.chown(after.uid, after.gid, path)
    handle.chmod(after.mode, path)  # last: chown clears set-id bits


def _content(handle: Handle, path: str, content: bytes) -> None:
    if len(content) <= _INLINE:
        handle.write(path, content)
        return
    descriptor, name = tempfile.mkstemp(prefix="wnodes-upload-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        handle.upload(name, path)
    finally:
        os.unlink(name)
