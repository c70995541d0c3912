# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A thin layer of changes over an image, made by a process of its own: the appliance works on what others made.

The process reads one JSON object, ``{"layer", "recipe", "accel"}``, from standard input and writes one to standard
output: ``{"actions"}``, or an error of ours with exit code 1.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import Any, Callable, List, Sequence, Tuple

from ..model.codec import decode, encode
from ..model.errors import CommandFailed, ImageError, WnodesError
from ..process import Completed, run
from .header import check_header
from .recipe.engine import Engine
from .recipe.operations import Recipe

#: the distribution's own, which has libguestfs' bindings
PYTHON = "/usr/bin/python3"
LIMIT_S = 600.0
#: the library's package may be installed for another Python: it comes last, so that nothing of that one is taken
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from {package}.image.layer import main; main()"


@dataclass(frozen=True)
class LayerMaker:
    """Makes layers.

    :param sandbox: argv put before the worker's, e.g. one that takes its privileges away
    :param owner: uid and gid that the worker runs as, if the sandbox changes them
    """

    sandbox: Tuple[str, ...] = ()
    owner: Tuple[int, int] = (-1, -1)
    run: Callable[..., Completed] = run

    def make(self, disk: str, format: str, recipe: Recipe, layer: str, accel: str) -> List[str]:
        """Write what ``recipe`` changes of ``disk`` into the new qcow2 file ``layer``; return what was done.

        :raises ImageError: the recipe does not fit the image, or the layer is not what it must be
        :raises CommandFailed: the worker died or took too long
        """
        create = ["qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on", "-F", format, "-b", disk, layer]
        self.run(create, timeout=LIMIT_S)
        os.chown(layer, *self.owner)
        package = __name__.rpartition(".image.layer")[0]
        above = os.path.abspath(__file__).rsplit(os.sep, 2 + package.count(".") + 1)[0]
        argv: Sequence[str] = [*self.sandbox, PYTHON, "-I", "-c", _PROGRAM.format(package=package), above]
        asked = {"layer": layer, "recipe": encode(recipe), "accel": accel}
        done = self.run(argv, timeout=LIMIT_S, input=json.dumps(asked), check=False)
        os.chown(layer, 0 if self.owner[0] >= 0 else -1, 0 if self.owner[1] >= 0 else -1)
        answer = _answer(done)
        # The appliance had to do with a stranger's file systems: what it says of the layer is not asked, but looked at.
        check_header(layer, "qcow2", backing=disk)
        return [str(action) for action in answer["actions"]]


def _answer(done: Completed) -> Any:
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise CommandFailed(
            object="image layer", reason=f"exit code {done.rc}: {(done.stderr or done.stdout).strip()[-1000:]}"
        ) from None
    if done.rc != 0:
        raise ImageError(**{key: str(answer.get(key, "")) for key in ("object", "value", "reason", "hint")})
    return answer


def main() -> None:
    """Do what standard input asks for."""
    asked = json.load(sys.stdin)
    try:
        done = Engine(asked["accel"]).customise_layer(asked["layer"], decode(Recipe, asked["recipe"], "seal"))
    except WnodesError as error:
        json.dump(error.as_dict(), sys.stdout)
        raise SystemExit(1) from None
    json.dump({"actions": done.actions()}, sys.stdout)
