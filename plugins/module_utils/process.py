# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way we start other programs: an argv, a deadline, and a failure that says everything."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass
from typing import Mapping, Optional, Sequence

from .model.errors import CommandFailed


@dataclass(frozen=True)
class Completed:
    """What a finished process left: exit code, standard output and error as text."""

    argv: Sequence[str]
    rc: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    input: Optional[str] = None,
    env: Optional[Mapping[str, str]] = None,
    check: bool = True,
) -> Completed:
    """Run ``argv`` (never through a shell) for at most ``timeout`` seconds.

    :raises CommandFailed: not found, over time, or (with ``check``) a non-zero exit code
    """
    command = shlex.join(argv)
    try:
        done = subprocess.run(
            list(argv),
            input=input if input is not None else "",
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            env=env,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CommandFailed(object=argv[0], value=command, reason=f"did not end within {timeout:g} s") from None
    except OSError as error:
        raise CommandFailed(object=argv[0], value=command, reason=f"could not be started: {error.strerror}") from None
    result = Completed(tuple(argv), done.returncode, done.stdout, done.stderr)
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise CommandFailed(object=argv[0], value=command, reason=f"exit code {done.returncode}: {said}")
    return result
