# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes into a support bundle: parts, each bounded in time and size, without secrets.

A part that can't be had says why in its place; it never keeps the others from being had.
"""

from __future__ import annotations

import json
import os
import platform
import re
import time
from typing import Any, Callable, Dict, Mapping, Sequence

from .model.codec import encode
from .process import Completed
from .process import run as run_process

#: makes the text of one part
Part = Callable[[], str]
#: runs a program, see ``process.run``
CommandRunner = Callable[..., Completed]

#: how long all parts of one service may take together, and each command, in seconds
LIMIT_S, COMMAND_S = 25.0, 8.0
#: the end of a longer part is kept
MAX_CHARS = 400_000
JOURNAL_LINES = 2000
HIDDEN = "(hidden)"
LEFT_OUT = "left out: "

#: what a recipe puts into images, line by line, may be secret too
_SECRET_KEY = re.compile(
    r"(?i)pass(word|wd|phrase)?\Z|secret|token|credential|private|(^|_)key\Z|content|script|stdin"
    r"|\A(line|replacement|argv|shell)\Z"
)
_SECRET_TEXT = (
    re.compile(r"()-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL),
    re.compile(r"(://)[^/\s:@]*:[^/\s@]+(?=@)"),
    re.compile(r"(?i)(\b(?:password|passwd|passphrase|secret|token)\s*[=:]\s*)\S+"),
)


def redacted(value: Any) -> Any:
    """Return plain data without what its keys or its texts say is secret; paths of files are none."""
    if isinstance(value, dict):
        return {
            key: HIDDEN if _SECRET_KEY.search(key) and not _harmless(item) else redacted(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [redacted(item) for item in value]
    return scrubbed(value) if isinstance(value, str) else value


def _harmless(value: Any) -> bool:
    empty_or_number = value is None or isinstance(value, (bool, int, float)) or value in ("", [], {}, ())
    return empty_or_number or (isinstance(value, str) and re.match(r"(/[\w.-]+)+\Z", value) is not None)


def scrubbed(text: str) -> str:
    """Return a text without keys and passwords that are recognised as such."""
    for pattern in _SECRET_TEXT:
        text = pattern.sub(rf"\1{HIDDEN}", text)
    return text


def data(read: Callable[[], Any]) -> Part:
    """Return a part that tells what ``read`` returns, as JSON."""
    return lambda: json.dumps(redacted(encode(read())), indent=2, ensure_ascii=False) + "\n"


def command(*argv: str, run: CommandRunner = run_process) -> Part:
    """Return a part that tells what a program prints, and how it ended if not well."""

    def told() -> str:
        done = run(argv, timeout=COMMAND_S, check=False, env={**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0"})
        return done.stdout + done.stderr + (f"exit code {done.rc}\n" if done.rc else "")

    return told


def versions(package: str, programs: Mapping[str, Sequence[str]], run: CommandRunner = run_process) -> Part:
    """Return a part that tells versions: ours, Python's, the kernel's, and the first line each program prints."""

    def told() -> str:
        system = os.uname()
        lines = [f"wnodes: {package or 'a checkout'}", f"python: {platform.python_version()}"]
        lines.append(f"kernel: {system.sysname} {system.release} {system.version} {system.machine}")
        for name, argv in programs.items():
            said = attempted(command(*argv, run=run)).strip().splitlines()
            lines.append(f"{name}: {said[0] if said else 'says nothing'}")
        return "\n".join(lines) + "\n"

    return told


def units(*names: str, run: CommandRunner = run_process) -> Dict[str, Part]:
    """Return parts that tell the state and the last journal lines of systemd units."""
    wanted = "Id,LoadState,ActiveState,SubState,Result,NRestarts,ExecMainStatus,ExecMainStartTimestamp,MemoryCurrent"
    chosen = [word for name in names for word in ("-u", name)]
    # not what VMs log: their users did not agree to that
    speakers = ("systemd", "python", *(name.rpartition(".")[0] for name in names))
    chosen += [word for speaker in speakers for word in ("-t", speaker)]
    lines = f"--lines={JOURNAL_LINES}"
    return {
        "units.txt": command("systemctl", "show", f"--property={wanted}", *names, run=run),
        "journal.txt": command("journalctl", "--no-pager", "--output=short-iso", lines, *chosen, run=run),
    }


def attempted(part: Part) -> str:
    """Return the text of a part, or why it can't be had."""
    try:
        text = scrubbed(part())
    except Exception as error:  # the worse things are, the more the rest of the bundle is needed
        return f"{LEFT_OUT}{type(error).__name__}: {error}\n"
    if len(text) > MAX_CHARS:
        return f"(the last {MAX_CHARS} of {len(text)} characters)\n{text[-MAX_CHARS:]}"
    return text


def collect(
    parts: Mapping[str, Part], limit_s: float = LIMIT_S, clock: Callable[[], float] = time.monotonic
) -> Dict[str, str]:
    """Return the texts of parts by name; those that come when the time is over say so."""
    end = clock() + limit_s
    late = f"{LEFT_OUT}the parts before it took {limit_s:g} s\n"
    return {name: attempted(part) if clock() < end else late for name, part in parts.items()}


def is_plain(name: str) -> bool:
    """Return whether what another machine calls a part can be the name of a file."""
    return re.match(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z", name) is not None
