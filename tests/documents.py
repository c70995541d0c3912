# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation as tests see it: pages, and the commands that a reader is told to type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Command:
    """What stands behind a prompt.

    :param root: whether root types it; else it is an ordinary user
    :param text: the line, and those that continue it, as one; without a comment
    :param answer: lines that follow it; ``…`` stands for anything
    """

    page: str
    root: bool
    text: str
    answer: tuple[str, ...]


def blocks(doc: Path, language: str) -> list[str]:
    return [text for kind, text in FENCE.findall(doc.read_text()) if kind == language]


def commands(doc: Path) -> Iterator[Command]:
    """Yield the commands of a page, in order."""
    for block in blocks(doc, "console"):
        joined = re.sub(r"\\\n\s*", "", block)
        for prompt, text, answer in re.findall(r"^([#$]) (.*)\n((?:(?![#$] ).*\n)*)", joined, re.MULTILINE):
            plain = re.sub(r"\s+# .*", "", text).rstrip()
            yield Command(doc.name, prompt == "#", plain, tuple(line for line in answer.splitlines() if line.strip()))
