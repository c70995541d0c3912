# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole way of one image: copy of a base, customisation, last look, publication; check mode included."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from dataclasses import dataclass, replace
from typing import Callable, Dict, Iterator, List, Optional, Tuple

from ..model.clock import Clock
from ..model.errors import ImageError
from .disk import clone, sync
from .fetch import fetch
from .header import check_header
from .inspection import check_publishable, extract_boot, meant_keys, root_device
from .progress import Say, TransferProgress, silent
from .publish import Published, Target, publish
from .recipe.appliance import Handle
from .recipe.engine import Engine
from .recipe.family import release_name
from .recipe.operations import Recipe
from .recipe.plan import ImageDifference
from .recipe.view import ImageView


@dataclass(frozen=True)
class BuildResult:
    """What was done, or in check mode would be.

    :param copied: the base was copied first
    """

    copied: bool
    difference: ImageDifference
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

    :param base: path or URL, copied to ``path`` if that does not exist; same ``format``
    :param checksum: sha256 (hex) of ``base``; a URL needs one
    :param target: None: not published
    :param say: called with a line before each step that may take long, and once a second in long transfers
    """

    engine: Engine
    path: str
    format: str
    base: Optional[str]
    recipe: Recipe
    target: Optional[Target] = None
    checksum: str = ""
    say: Say = silent
    clock: Optional[Clock] = None

    def __post_init__(self) -> None:
        if self.base and not os.path.isabs(self.base) and not self.checksum:
            raise ImageError(
                object="base", value=self.base, reason="needs a checksum: who serves it is not known", hint="sha256"
            )

    def run(self, *, check: bool = False) -> BuildResult:
        """Do it. What fails leaves ``path`` and the published images as they were.

        :raises ImageError: among others, where neither ``path`` nor ``base`` exists
        """
        with contextlib.ExitStack() as stack:
            if not check:
                stack.enter_context(self._alone())
            boot = stack.enter_context(tempfile.TemporaryDirectory(prefix="wnodes-boot-"))
            kernel, initrd = os.path.join(boot, "kernel"), os.path.join(boot, "initrd")

            inside: Dict[str, str] = {}
            target = self.target

            def look(handle: Handle) -> None:
                nonlocal target
                self.say("look for what must not be published")
                check_publishable(handle, meant_keys(self.recipe))
                inside["kernel"] = extract_boot(handle, kernel, initrd)
                inside["os"] = release_name(ImageView(handle))
                target = self.target.rooted(root_device(handle)) if self.target else None

            seen = None if check else self._look_first(look)
            work, copied = stack.enter_context(self._work(check))
            if not work:  # in check mode, a base that would have to be fetched first
                return BuildResult(True, ImageDifference(), None)
            if seen is not None:
                if self.base is None or _stamp(self.base) != seen:
                    raise ImageError(object="base", value=str(self.base), reason="was changed while it was read")
                difference = ImageDifference()
            else:
                difference = self.engine.customise(
                    work,
                    self.format,
                    self.recipe,
                    check=check,
                    afterwards=look if self.target else None,
                    progress=self.say,
                )
            published = None
            if target and not (check and (difference or copied)):
                target = replace(target, properties={**inside, **target.properties})
                self.say("sign and publish")
                published = publish(
                    work, self.format, kernel, initrd, target, check=check, tools=self.engine.tools, clock=self.clock
                )
            if copied and not check:
                os.rename(work, self.path)
                sync(os.path.dirname(self.path))
        return BuildResult(copied, difference, published)

    def _look_first(self, look: Callable[[Handle], None]) -> Optional[Tuple[int, ...]]:
        """Look through a base that shall only be published before the long copy; return its state, None: not done."""
        base = self.base
        if self.target is None or self.recipe != Recipe() or os.path.exists(self.path):
            return None
        if base is None or not os.path.isabs(base) or not os.path.exists(base):
            return None
        seen = _stamp(base)
        self.engine.customise(base, self.format, self.recipe, check=True, afterwards=look, progress=self.say)
        return seen

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let nobody else work on this image meanwhile, e.g. a playbook's module that outlived its playbook."""
        path = f"{self.path}.lock"
        if not os.path.isdir(os.path.dirname(path)):
            yield  # there is nothing to work on either
            return
        with contextlib.ExitStack() as stack:
            try:
                lock = stack.enter_context(open(path, "w", encoding="ascii"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # whoever had it may have removed the file in between, and another one made it anew
                alone = os.fstat(lock.fileno()).st_ino == os.stat(path).st_ino
            except (BlockingIOError, FileNotFoundError):
                alone = False
            except OSError as error:
                raise ImageError(object="path", value=self.path, reason=f"can't be written: {error}") from error
            if not alone:
                raise ImageError(
                    object="path", value=self.path, reason="is being worked on by another process", hint="wait for it"
                )
            stack.callback(os.unlink, path)
            yield

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
        local = os.path.isabs(self.base)
        if local:
            check_header(self.base, self.format)
        if check:
            yield self.base if local else "", True
            return
        work = f"{self.path}.base"
        try:
            self._get_base(self.base, work)
            check_header(work, self.format)
            yield work, True
        except OSError as error:
            raise ImageError(object="path", value=self.path, reason=f"can't be written: {error}") from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(work)

    def _get_base(self, base: str, work: str) -> None:
        """Copy or fetch the base; a fetch that broke off is gone on with by the next run."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(work)
        progress = TransferProgress(self.say, "fetch the base" if self.checksum else "copy the base")
        if self.checksum:
            fetch(base, work, self.checksum, progress=progress)
        else:
            clone(base, work, progress)


def _stamp(path: str) -> Tuple[int, ...]:
    """Return what changes when a file is written to or replaced."""
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
