# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole way of one image: copy of a base, customisation, last look, publication; check mode included."""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass
from typing import Iterator, List, Optional, Tuple

from ..model.errors import ImageError
from .customise import Engine
from .disk import copy, sync
from .guest import Handle
from .header import check_header
from .operations import Recipe
from .plan import Difference
from .publish import Published, Target, publish
from .seal import check_sealed, extract_boot


@dataclass(frozen=True)
class Outcome:
    """What was done, or in check mode would be.

    :param copied: the base was copied first
    """

    copied: bool
    difference: Difference
    published: Optional[Published]

    @property
    def changed(self) -> bool:
        return self.copied or bool(self.difference) or bool(self.published and self.published.changed)

    @property
    def actions(self) -> List[str]:
        """One line for each thing done, in order."""
        actions = ["copy the base"] if self.copied else []
        actions += self.difference.actions()
        if self.published and self.published.changed:
            actions.append(f"publish {self.published.path}")
        return actions


@dataclass(frozen=True)
class Build:
    """One image to be made.

    :param base: copied to ``path`` if that does not exist; same ``format``
    :param target: None: not published
    """

    engine: Engine
    path: str
    format: str
    base: Optional[str]
    recipe: Recipe
    target: Optional[Target] = None

    def run(self, *, check: bool = False) -> Outcome:
        """Do it. What fails leaves ``path`` and the published images as they were.

        :raises ImageError: among others, where neither ``path`` nor ``base`` exists
        """
        with contextlib.ExitStack() as stack:
            work, copied = stack.enter_context(self._work(check))
            boot = stack.enter_context(tempfile.TemporaryDirectory(prefix="wnodes-boot-"))
            kernel, initrd = os.path.join(boot, "kernel"), os.path.join(boot, "initrd")

            def look(handle: Handle) -> None:
                check_sealed(handle)
                extract_boot(handle, kernel, initrd)

            difference = self.engine.customise(
                work, self.format, self.recipe, check=check, afterwards=look if self.target else None
            )
            published = None
            if self.target and not (check and (difference or copied)):
                tools = self.engine.tools
                published = publish(work, self.format, kernel, initrd, self.target, check=check, tools=tools)
            if copied and not check:
                os.rename(work, self.path)
                sync(os.path.dirname(self.path))
        return Outcome(copied, difference, published)

    @contextlib.contextmanager
    def _work(self, check: bool) -> Iterator[Tuple[str, bool]]:
        """Give the file to work on, and whether it is a copy that has to be renamed in the end."""
        if os.path.exists(self.path):
            yield self.path, False
            return
        if self.base is None:
            raise ImageError(
                object="path", value=self.path, reason="does not exist", hint="name a base, or make it first"
            )
        check_header(self.base, self.format)
        if check:
            yield self.base, True
            return
        work = f"{self.path}.{os.getpid()}.part"
        try:
            copy(self.base, work)
            yield work, True
        except OSError as error:
            raise ImageError(object="path", value=self.path, reason=f"can't be written: {error}") from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(work)
