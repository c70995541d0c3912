# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Man pages and shell completion of ``wnodes``, made from its command tree: ``pages FOLDER``, e.g. /usr/local/share."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.completion import get_completion_script

from .. import version
from . import usage
from .common import EXIT_CODES
from .main import COMPLETE, NAME, application

#: where each shell looks for what completes a command
COMPLETIONS = {
    "bash": f"bash-completion/completions/{NAME}",
    "zsh": f"zsh/site-functions/_{NAME}",
    "fish": f"fish/vendor_completions.d/{NAME}.fish",
}
MAN = "man/man1"


def commands(command: Any = None, words: tuple[str, ...] = (NAME,)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each command and group of the tree below ``command`` with the words by which it is called."""
    top = command or typer.main.get_command(application())
    yield words, top
    for name, below in getattr(top, "commands", {}).items():
        yield from commands(below, (*words, name))


def roff(text: str) -> str:
    """Return a text as roff shows it unchanged."""
    plain = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", re.sub(r"`+([^`]*)`+", r"\\fB\1\\fR", plain))


def page(words: tuple[str, ...], command: Any, version: str) -> str:
    """Return the man page of a command in roff."""
    name, about = "-".join(words), roff(command.help or "")
    arguments = usage.arguments(command)
    options = [one for one in command.params if one.param_type_name == "option"]
    below = getattr(command, "commands", {})
    synopsis = [f"\\fB{roff(' '.join(words))}\\fR", *(f"\\fI{roff(one)}\\fR" for one in usage.pieces(command))]
    lines = [f'.TH "{roff(name.upper())}" "1" "" "wnodes {roff(version)}" "wnodes"', ".nh", ".ad l", ".SH NAME"]
    lines += [
        f"{roff(name)} \\- {about.partition('. ')[0].rstrip('.') or roff(name)}",
        ".SH SYNOPSIS",
        " ".join(synopsis),
    ]
    lines += [".SH DESCRIPTION", about or "See its commands."]
    if below:
        lines += [".SH COMMANDS", *_items((f"{' '.join(words)} {one}", it.help or "") for one, it in below.items())]
    if arguments:
        lines += [".SH ARGUMENTS", *_items((usage.placeholder(one), one.help or "") for one in arguments)]
    lines += [".SH OPTIONS", *_items((usage.option(one), usage.about(one)) for one in options)]
    lines += _items([("-h, --help", "Show what the command takes, and exit.")])
    lines += [".SH EXIT STATUS", *_items((str(code), text) for code, text in EXIT_CODES.items())]
    others = ["-".join(words[:-1])] if words[1:] else []
    others += [f"{name}-{one}" for one in below]
    return "\n".join([*lines, ".SH SEE ALSO", *_references(others)]) + "\n"


def _references(names: list[str]) -> list[str]:
    return [f".BR {roff(name)} (1){',' if name != names[-1] else ''}" for name in names]


def _items(items: Any) -> list[str]:
    return [line for tag, text in items for line in (".TP", f"\\fB{roff(tag)}\\fR", roff(text) or "\\&")]


def files(version: str) -> dict[str, str]:
    """Return the content of all files by their paths below ``share``."""
    made = {f"{MAN}/{'-'.join(words)}.1": page(words, command, version) for words, command in commands()}
    for shell, path in COMPLETIONS.items():
        made[path] = get_completion_script(prog_name=NAME, complete_var=COMPLETE, shell=shell) + "\n"
    return made


def install(share: Path, version: str) -> None:
    """Write the files, and remove pages of commands that there were before."""
    made = files(version)
    for path, text in made.items():
        target = share / path
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        partial.write_text(text, encoding="utf-8")
        partial.chmod(0o644)
        partial.rename(target)
    for old in [*share.glob(f"{MAN}/{NAME}.1"), *share.glob(f"{MAN}/{NAME}-*.1")]:
        if f"{MAN}/{old.name}" not in made:
            old.unlink()


def main() -> None:
    """Run as a program."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    install(Path(sys.argv[1]), version())


if __name__ == "__main__":
    main()
