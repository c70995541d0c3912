# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a command is called, in the words of its help and of its manual page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.core import TyperCommand, TyperGroup


def arguments(command: Any) -> list[Any]:
    """Return the arguments of a command."""
    return [one for one in command.params if one.param_type_name == "argument"]


def placeholder(argument: Any) -> str:
    """Return what stands for an argument: ``HOSTS``."""
    return str(argument.metavar or argument.name.upper())


def pieces(command: Any) -> Iterator[str]:
    """Yield what follows the name of a command in its synopsis: ``[OPTIONS]``, ``HOSTS...``, ``[FILE]``."""
    yield "[OPTIONS]"
    if getattr(command, "commands", {}):
        yield "COMMAND"
    for argument in arguments(command):
        word = placeholder(argument) + ("..." if argument.nargs != 1 else "")
        yield word if argument.required else f"[{word}]"


def option(option: Any) -> str:
    """Return the words of an option, with what stands for its value: ``-n LINES, --lines LINES``."""
    value = "" if option.is_flag else f" {option.metavar or option.name.upper()}"
    return ", ".join(f"{word}{value}" for word in (*option.secondary_opts, *sorted(option.opts, key=len)))


def about(option: Any) -> str:
    """Return what an option is for, whether it must be there, and what it is without."""
    shown = not option.is_flag and option.default not in (None, "", ()) and not callable(option.default)
    parts = [option.help or "", "Required." if option.required else "", f"Default: {option.default}." if shown else ""]
    return " ".join(filter(None, parts))


class _Plain:
    """Help that looks the same with each version of Typer, on a terminal and in a pipe."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return list(pieces(self))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        command: Any = self
        command.format_usage(ctx, formatter)
        command.format_help_text(ctx, formatter)
        options = [one for one in command.get_params(ctx) if one.param_type_name == "option"]
        below = getattr(command, "commands", {})
        parts = {
            "Arguments": [(placeholder(one), one.help or "") for one in arguments(command)],
            "Commands": [(name, (one.help or "").partition("\n\n")[0]) for name, one in below.items()],
            "Options": [(option(one), about(one)) for one in options],
        }
        for title, rows in parts.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


class Command(_Plain, TyperCommand):
    """A command with plain help."""


class Group(_Plain, TyperGroup):
    """A group of commands with plain help."""
