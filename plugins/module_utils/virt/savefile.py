# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file in which libvirt saves a domain: a header, the domain's XML, a cookie of its own, then the memory.

libvirt restores a domain under no other name than it was saved with. So the XML is replaced on the way in: libvirt
reads a FIFO, which gets a new head and then the memory as it is, from the page cache and uncopied. libvirt 11 opens it
twice, the first time for its XML only, so that whoever opens it finds a FIFO of its own there, from the beginning.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import struct
import threading
from dataclasses import dataclass
from io import FileIO
from typing import Iterator

from ..model.errors import ImageError, VirtError

log = logging.getLogger(__name__)

MAGIC = b"LibvirtQemudSave"
#: what stands there while libvirt still writes
UNFINISHED = b"LibvirtQemudPart"
VERSION = 2
#: magic, version, bytes of XML and cookie, whether it ran, compression, where the cookie starts; the rest is unused
_HEAD = struct.Struct("<16s5I56x")
#: a domain's XML has some KiB, and libvirt leaves 64 KiB of room behind it
_TEXT_LIMIT = 4 << 20
_PIECE = 1 << 20
#: Linux' number for setting a pipe's size, which Python knows from 3.10 on
_F_SETPIPE_SZ = 1031
#: seconds between two looks whether a feeder that nobody listens to has noticed
_JOIN_S = 0.05


@dataclass(frozen=True)
class SaveFile:
    """What a save file says before its memory.

    :param cookie: what libvirt keeps for itself, empty where there is none
    :param running: libvirt's number for the state it was saved in
    :param memory_at: offset of the memory, in bytes
    """

    path: str
    xml: str
    cookie: bytes
    running: int
    memory_at: int

    def head(self, xml: str) -> bytes:
        """Return all that comes before the memory, with the XML replaced."""
        text = xml.encode() + b"\0"
        cookie = self.cookie + b"\0" if self.cookie else b""
        cookie_at = len(text) if cookie else 0
        return _HEAD.pack(MAGIC, VERSION, len(text) + len(cookie), self.running, 0, cookie_at) + text + cookie


def read(path: str) -> SaveFile:
    """Return what the save file says.

    :raises ImageError: it is none, unfinished, compressed, or of a version of the format that is not known here
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                raise _bad(path, f"{len(head)} bytes", "is too short")
            magic, version, length, running, compression, cookie_at = _HEAD.unpack(head)
            if magic == UNFINISHED:
                raise _bad(path, "", "was not written to its end")
            if magic != MAGIC:
                raise _bad(path, repr(magic), "is no save file of libvirt")
            if version != VERSION:
                raise _bad(path, f"version {version}", f"only version {VERSION} of the format is known")
            if compression:
                raise _bad(path, f"compression {compression}", "must not be compressed: set save_image_format to raw")
            if not 0 < length <= _TEXT_LIMIT or cookie_at >= length:
                raise _bad(path, f"{length} bytes of XML, cookie at {cookie_at}", "can't be")
            text = file.read(length)
            memory_at = file.tell()
    except OSError as error:
        raise _bad(path, "", f"can't be read: {error.strerror}") from None
    if len(text) < length:
        raise _bad(path, f"{len(text)} bytes of XML", f"should have {length}")
    xml = text[: cookie_at or length].partition(b"\0")[0]
    cookie = text[cookie_at:].partition(b"\0")[0] if cookie_at else b""
    try:
        return SaveFile(path, xml.decode(), cookie, running, memory_at)
    except UnicodeDecodeError as error:
        raise _bad(path, str(error), "its XML is no text") from None


def _bad(path: str, value: str, reason: str) -> ImageError:
    return ImageError(object=f"save file {path}", value=value, reason=reason)


@contextlib.contextmanager
def offered(save: SaveFile, xml: str, fifo: str) -> Iterator[None]:
    """Make ``fifo`` and let whoever opens it read ``save`` with the XML replaced; the FIFO is gone afterwards.

    :raises VirtError: the FIFO can't be made
    """
    try:
        _make(fifo)
    except OSError as error:
        raise VirtError(object=f"FIFO {fifo}", reason=f"can't be made: {error.strerror}") from None
    over = threading.Event()
    feeder = threading.Thread(target=_serve, args=(save, xml, fifo, over), name="restore-feeder", daemon=True)
    feeder.start()
    try:
        yield
    finally:
        over.set()
        while feeder.is_alive():
            # one to whom nobody listened still waits for a reader: it gets one that leaves at once
            os.close(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))
            feeder.join(_JOIN_S)
        os.unlink(fifo)


def _make(fifo: str) -> None:
    """Put a new FIFO there; whoever has the one before open keeps that."""
    fresh = fifo + ".new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh)
    os.mkfifo(fresh, 0o600)
    os.replace(fresh, fifo)


def _serve(save: SaveFile, xml: str, fifo: str, over: threading.Event) -> None:
    try:
        while not over.is_set():
            with open(fifo, "wb", buffering=0) as out:
                # before this reader gets anything, so that it can't come back to what is left in its own
                _make(fifo)
                _feed(save, xml, out)
    except OSError as error:
        log.error("FIFO %s can't be offered to libvirt: %s", fifo, error)


def _feed(save: SaveFile, xml: str, out: FileIO) -> None:
    try:
        with open(save.path, "rb") as memory:
            with contextlib.suppress(OSError):  # a small pipe is slower, no more
                fcntl.fcntl(out, _F_SETPIPE_SZ, _PIECE)
            head = memoryview(save.head(xml))
            while head:
                head = head[out.write(head) :]
            offset, sent = save.memory_at, 1
            while sent:
                sent = os.sendfile(out.fileno(), memory.fileno(), offset, _PIECE)
                offset += sent
    except BrokenPipeError:
        pass  # the reader tells why it left
    except OSError as error:
        log.error("save file %s can't be sent to libvirt: %s", save.path, error)
