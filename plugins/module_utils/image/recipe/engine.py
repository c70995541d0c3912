# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Customise an image in one appliance launch: compute the difference first, then apply that and nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from dataclasses import dataclass
from typing import Callable, ContextManager, Iterator, Optional

from ...model.errors import ImageError
from ..disk import TOOLS, DiskTools
from ..header import check_header
from .appliance import Factory, Handle, OpenImage, libguestfs, open_image
from .operations import CommandOp, Recipe, ScriptOp
from .packages import PackageManager, package_manager
from .plan import ImageDifference, plan_packages, plan_rest
from .view import Change, File, Folder, Symlink

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
        progress: Optional[Callable[[str], None]] = None,
    ) -> ImageDifference:
        """Bring the image ``disk`` to what ``recipe`` says and return what was (``check``: would be) different.

        A step that fails leaves the image as it was. ``check`` and an empty difference do not touch it at all.

        :param afterwards: called with the open image in the end, e.g. to look for what must not be published
        :param progress: called with one line before each step that may take long
        :raises ImageError: refused header, impossible operation, or a command that failed
        """
        say = progress or _silent
        check_header(disk, format)
        if check:
            with self._open(disk, format, recipe, say, readonly=True) as image:
                difference = _packages(image, recipe, say, check=True)
                difference = _joined(difference, plan_rest(image.handle, recipe, pending=bool(difference)))
                if afterwards is not None and not difference:
                    afterwards(image.handle)
                return difference
        with self.tools.overlay(disk, format) as overlay:
            difference = self._change(overlay.path, recipe, say, afterwards)
            if difference:
                say("commit the changes")
                overlay.commit()
        return difference

    def customise_layer(self, layer: str, recipe: Recipe) -> ImageDifference:
        """Do what ``recipe`` says in a qcow2 file over an image that was checked; what fails leaves it unfit for use.

        :raises ImageError: impossible operation, or a command that failed
        """
        return self._change(layer, recipe, _silent, None)

    def _change(
        self, overlay: str, recipe: Recipe, say: Callable[[str], None], afterwards: Optional[Callable[[Handle], None]]
    ) -> ImageDifference:
        with self._open(overlay, "qcow2", recipe, say, readonly=False) as image:
            difference = _packages(image, recipe, say, check=False)
            rest = plan_rest(image.handle, recipe)
            if rest:
                image.writable()
            difference = _joined(difference, rest)
            apply(image.handle, difference, say)
            if afterwards is not None:
                afterwards(image.handle)
        return difference

    def _open(
        self, disk: str, format: str, recipe: Recipe, say: Callable[[str], None], *, readonly: bool
    ) -> ContextManager[OpenImage]:
        say("launch the appliance")
        scratch = bool(recipe.packages or recipe.packages_absent or recipe.upgrade)
        return open_image(
            disk,
            format,
            readonly=readonly,
            network=recipe.network,
            scratch=scratch,
            accel=self.accel,
            factory=self.factory,
        )


def _silent(_line: str) -> None:
    pass


def _joined(first: ImageDifference, rest: ImageDifference) -> ImageDifference:
    return dataclasses.replace(rest, removals=first.removals, upgrades=first.upgrades, packages=first.packages)


def _packages(image: OpenImage, recipe: Recipe, say: Callable[[str], None], *, check: bool) -> ImageDifference:
    """Return what is to be done about packages and, unless ``check``, do it."""
    if not (recipe.packages or recipe.packages_absent or recipe.upgrade):
        return ImageDifference()
    manager = package_manager(image.handle)
    if not recipe.upgrade:
        if manager.runs_programs:
            image.writable()
        difference = plan_packages(manager, recipe)
        if check or not difference:
            return difference
    with image.scratch():
        if recipe.upgrade or difference.packages:
            with _step(say, "fetch the package index"):
                manager.refresh()
        if recipe.upgrade:
            difference = plan_packages(manager, recipe)
        if not check:
            _handle_packages(manager, difference, say)
    return difference


def _handle_packages(manager: PackageManager, difference: ImageDifference, say: Callable[[str], None]) -> None:
    removals, upgrades, names = difference.removals, difference.upgrades, difference.packages
    if removals:
        with _step(say, f"remove {len(removals)} packages: {' '.join(removals)}"):
            manager.remove(removals)
    if upgrades:
        with _step(say, f"upgrade {len(upgrades)} packages"):
            manager.upgrade()
    if names:
        with _step(say, f"install {len(names)} packages: {' '.join(names)}"):
            manager.install(names)


@contextlib.contextmanager
def _step(say: Callable[[str], None], line: str) -> Iterator[None]:
    say(line)
    try:
        yield
    except RuntimeError as error:
        raise ImageError(object="packages in the image", value=line, reason=str(error).strip()) from error


def apply(handle: Handle, difference: ImageDifference, say: Callable[[str], None] = _silent) -> None:
    """Do what ``difference`` says on a writable image, except for its packages."""
    for change in difference.changes:
        _write(handle, change)
    for script in difference.scripts:
        say(f"run script {script.name}")
        _run_script(handle, script)
    for command in difference.commands:
        say(f"run {command}".partition("\n")[0])
        _run(handle, command)
    packages = difference.removals or difference.upgrades or difference.packages
    if difference.scripts or difference.commands or packages:
        for path in difference.delete:
            handle.rm_rf(path)


def _run_script(handle: Handle, script: ScriptOp) -> None:
    path = f"{script.stamp}.running"
    handle.write(path, script.content.encode())
    handle.chmod(0o700, path)
    try:
        handle.command([path])
    except RuntimeError as error:
        raise ImageError(object="script in the image", value=script.name, reason=str(error).strip()) from error
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
    if isinstance(after, Symlink):
        handle.rm_rf(path)
        handle.ln_s(after.target, path)
        return
    assert isinstance(after, (Folder, File))
    if isinstance(after, Folder):
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
