# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``wnodes console``: what a VM writes to its console. A guest is hostile: it must not get at the reader's terminal."""

from __future__ import annotations

import base64
import codecs
import re
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from wnodes.hypervisor.client import HypervisorClient
from wnodes.model.errors import NotFoundError, RequestError

from . import nodes, site
from .common import REFRESH_S, Json, Timeout, complain, complete_vms, print_json, view_of

#: bytes that a line is reckoned with, and those that are read at the most for the last lines
LINE, MOST = 256, 4 << 20
#: a line that goes on for longer is cut in two
LONGEST = 4096
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def console(
    vm: Annotated[str, typer.Argument(metavar="VM", help="Its name or request id.", autocompletion=complete_vms)],
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="The last so many lines; 0: all.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow until interrupted.")] = False,
    timeout: Timeout = 10.0,
    as_json: Json = False,
) -> None:
    """Show what a VM has written to its console (as root)."""
    if follow and as_json:
        raise RequestError(object="--follow", reason="does not go together with --json")
    view = view_of(None)
    host, vm_id = _find(view, vm)
    hypervisor = nodes.client(view, ("hypervisor", host), timeout)
    assert isinstance(hypervisor, HypervisorClient)
    reader = Reader(hypervisor, vm_id, 0 if not lines else -min(lines * LINE, MOST))
    last = deque(reader.there(), maxlen=lines or None)
    if not follow:
        last.extend(reader.rest())
    if as_json:
        print_json({"vm": vm, "id": vm_id, "host": host, "lines": list(last)})
        return
    for line in last:
        print(line)
    if not last:  # one that was restored says nothing at its start
        complain(f"{vm} has written nothing to its console yet")
    if follow:
        _follow(reader)


def _find(view: site.SiteView, key: str) -> tuple[str, str]:
    """Return node and request id of a VM."""
    for vm in reversed(view.vms):
        if key in (vm["request"]["id"], (vm.get("lease") or {}).get("name")):
            return vm["hypervisor"], vm["request"]["id"]
    raise NotFoundError(object=f"VM {key}", reason="there is no VM of this name", hint="`wnodes vms` shows all of them")


def _follow(reader: Reader) -> None:
    sys.stdout.flush()
    try:
        while True:
            time.sleep(REFRESH_S)
            for line in reader.there():
                print(line, flush=True)
    except NotFoundError as error:
        for line in reader.rest():
            print(line)
        complain(error)


class Reader:
    """Reads a console log piece by piece, as lines that are harmless on a terminal."""

    def __init__(self, hypervisor: Any, vm_id: str, offset: int) -> None:
        self._hypervisor, self._vm_id, self._offset = hypervisor, vm_id, offset
        # the first line of what begins in the middle is none
        self._cut = offset < 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""

    def there(self) -> Iterator[str]:
        """Yield the whole lines that are there now; a guest that writes without end is left behind."""
        end = self._offset + MOST
        while self._offset < max(end, 1):
            part = self._hypervisor.console(self._vm_id, self._offset)
            self._cut = self._cut and part.offset > 0
            if self._offset < 0:
                end = part.offset + MOST
            self._offset = part.next
            if part.next == part.offset:
                return
            data = base64.b64decode(part.data)
            yield from self._lines(self._decoder.decode(data))

    def rest(self) -> Iterator[str]:
        """Yield what was begun and never ended."""
        if self._text:
            yield harmless(self._text)

    def _lines(self, text: str) -> Iterator[str]:
        *whole, self._text = (self._text + text).split("\n")
        while len(self._text) > LONGEST:
            whole, self._text = [*whole, self._text[:LONGEST]], self._text[LONGEST:]
        for line in whole:
            if not self._cut:
                yield harmless(line)
            self._cut = False


def harmless(line: str) -> str:
    """Return a line in which what could steer a terminal can be seen instead; colours are left out."""
    plain = _COLOURS.sub("", line.rstrip("\r"))
    return "".join(letter if letter.isprintable() or letter == "\t" else _visible(letter) for letter in plain)


def _visible(letter: str) -> str:
    number = ord(letter)
    return f"^{chr(number ^ 0x40)}" if number < 0x20 or number == 0x7F else f"<U+{number:04X}>"
