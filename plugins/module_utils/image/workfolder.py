# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder for the unfinished files of an import: gone when it ends, or when another import follows a killed one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from typing import Iterator

from ..model.errors import ImageError

PREFIX = ".import-"
_LOCK = "lock"


@contextlib.contextmanager
def work_folder(parent: str, name: str, resume: bool = False) -> Iterator[str]:
    """Give a folder below ``parent`` that nobody else works in, and remove those that dead imports left there.

    :param name: what is worked on, e.g. a tag; at most one import of it runs
    :param resume: keep the folder where the work fails, for the next one of this name to go on
    :raises ImageError: another process works on it, or it can't be written
    """
    folder = os.path.join(parent, PREFIX + name)
    with contextlib.ExitStack() as stack:
        try:
            _sweep(parent, folder)
            os.makedirs(folder, exist_ok=True)
            alone = stack.enter_context(_locked(folder))
        except OSError as error:
            raise ImageError(object="folder", value=folder, reason=f"can't be written: {error}") from error
        if not alone:
            raise ImageError(
                object="folder", value=folder, reason="is being worked on by another process", hint="wait for it"
            )
        failed = True
        try:
            yield folder
            failed = False
        finally:
            if not (failed and resume):
                shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: str, own: str) -> None:
    for entry in list(os.scandir(parent)):
        if not entry.name.startswith(PREFIX) or entry.path == own:
            continue
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.path)
            continue
        with _locked(entry.path) as alone:
            if alone:
                shutil.rmtree(entry.path, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[bool]:
    """Lock a folder, and tell whether that could be done: another process may have it."""
    with open(os.path.join(folder, _LOCK), "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
