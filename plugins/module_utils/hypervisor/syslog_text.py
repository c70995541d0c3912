# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Syslog as guests send it, RFC 3164 and 5424, cut out of streams as RFC 6587 says. No I/O; any bytes are taken."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import List, Optional

#: bytes of one message; what is longer is cut
MAX_MESSAGE = 8192
#: a sender that counts to more than this is not talking syslog
_COUNT_DIGITS = 6
#: user.notice, for what names no priority (RFC 3164, 4.3.3)
_DEFAULT = 13
_MAX_PRIORITY = 191
_MAX_NAME = 48

_PRIORITY = re.compile(r"<([0-9]{1,3})>")
_COUNT = re.compile(rb"([1-9][0-9]{0,%d}) " % (_COUNT_DIGITS - 1))
_RFC_5424 = re.compile(
    r"1 (?P<sent>\S{1,64}) \S{1,255} (?P<tag>\S{1,48}) (?P<pid>\S{1,128}) \S{1,32}"
    r' (?:-|(?:\[(?:[^\]"]|"(?:[^"\\]|\\.)*")*\])+)(?: (?P<text>.*))?\Z',
    re.DOTALL,
)
# Some senders leave out the host, and rsyslog's stamp may be RFC 3339's.
_RFC_3164 = re.compile(
    r"(?:(?P<sent>[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.,+Z-]{8,24})"
    r" (?:[^\s\[]{0,254}[^\s\[:] )?)?"
    r"(?:(?P<tag>[^\s:\[]{1,48})(?:\[(?P<pid>[^\]\s]{1,32})\])?:\s?)?(?P<text>.*)\Z",
    re.DOTALL,
)


@dataclass(frozen=True)
class Message:
    """What a guest said; every text is one printable line.

    :param facility: 0 to 23
    :param severity: 0 (emergency) to 7 (debug)
    :param tag: the program's name as the guest tells it
    :param pid: its process id, likewise
    :param sent: the guest's time stamp, as sent
    """

    facility: int
    severity: int
    text: str
    tag: str = ""
    pid: str = ""
    sent: str = ""


def harmless(text: str) -> str:
    """Return ``text`` with everything escaped that a terminal could obey or a reader could take for a new line."""
    if text.isprintable():
        return text
    shown = (letter if letter.isprintable() or letter == "\t" else repr(letter)[1:-1] for letter in text)
    return "".join(shown)


def parse(data: bytes) -> Optional[Message]:
    """Return the message in ``data`` (cut to ``MAX_MESSAGE`` bytes), or None where there is no text in it."""
    text = data[:MAX_MESSAGE].decode("utf-8", "backslashreplace").rstrip("\r\n\0")
    priority = _DEFAULT
    head = _PRIORITY.match(text)
    if head and int(head.group(1)) <= _MAX_PRIORITY:
        priority, text = int(head.group(1)), text[head.end() :]
    found = _RFC_5424.match(text) or _RFC_3164.match(text)
    assert found is not None  # every part of the latter may be missing
    part = found.groupdict("")
    said = part["text"].lstrip("\ufeff")
    if not said.strip():
        return None
    names = {key: "" if part[key] == "-" else harmless(part[key])[:_MAX_NAME] for key in ("tag", "pid", "sent")}
    return Message(priority >> 3, priority & 7, harmless(said), **names)


class Framing(Exception):
    """The sender does not keep to its framing; where its next message begins can't be known."""


class Stream:
    """Cuts a connection's bytes into messages: octet counting if its first byte is a digit, else lines (RFC 6587, 3.4).

    Holds at most one message's bytes back; a message over ``MAX_MESSAGE`` is cut and its rest skipped.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._counting: Optional[bool] = None
        #: bytes still to be skipped when counting; else whether to skip to the next line feed
        self._skip = 0

    def feed(self, data: bytes) -> List[bytes]:
        """Return the messages that ``data`` completes.

        :raises Framing: octet counting without a count; the messages before it are lost with the connection
        """
        if self._counting is None and data:
            self._counting = data[:1].isdigit()
        self._buffer += data
        return self._counted() if self._counting else self._lines()

    def rest(self) -> bytes:
        """Return what was not ended when the connection was; senders may leave out the last line feed."""
        return b"" if self._counting or self._skip else self._buffer

    def _lines(self) -> List[bytes]:
        *lines, rest = self._buffer.split(b"\n")
        if self._skip and lines:
            self._skip = 0
            del lines[0]
        if self._skip:
            rest = b""
        elif len(rest) >= MAX_MESSAGE:
            lines.append(rest)
            self._skip, rest = 1, b""
        self._buffer = rest
        return [line[:MAX_MESSAGE] for line in lines]

    def _counted(self) -> List[bytes]:
        found: List[bytes] = []
        buffer, at = self._buffer, 0
        while True:
            skipped = min(self._skip, len(buffer) - at)
            at, self._skip = at + skipped, self._skip - skipped
            head = _COUNT.match(buffer, at)
            if head is None:
                begun = buffer[at : at + _COUNT_DIGITS + 1]
                if begun and (len(begun) > _COUNT_DIGITS or not begun.isdigit()):
                    raise Framing
                break
            size = int(head.group(1))
            end = head.end() + min(size, MAX_MESSAGE)
            if len(buffer) < end:
                break
            found.append(buffer[head.end() : end])
            at, self._skip = end, max(0, size - MAX_MESSAGE)
        self._buffer = buffer[at:]
        return found
