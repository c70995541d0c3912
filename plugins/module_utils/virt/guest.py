# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Into the guest by its QEMU agent: scripts, and what a VM's user wants done."""

from __future__ import annotations

import base64
import binascii
import gzip
import shlex
import threading
import time
import uuid
from dataclasses import dataclass
from typing import Any, Callable, Dict, Mapping, Optional

from ..load import Stretch, stretch
from ..model.errors import RequestError, VirtError
from ..model.vm import GuestSetup
from .base import VmHost

#: all limits here are those of a free node: a busy one stretches them
PING_S = 2.0
CALL_S = 10.0
#: pauses between two looks at a running script, in seconds: short at first, as most take milliseconds
POLL_S = (0.01, 0.1)
#: bytes of a script that go in at once: an agent that is told 256 KiB in one message never answers again
PIECE = 96 * 1024
#: what runs a packed script
UNPACK = "gzip -dc | /bin/sh"
#: how each byte is told to printf
_ESCAPED = tuple(chr(byte) if 32 <= byte < 127 and chr(byte) not in "%\\" else f"\\{byte:03o}" for byte in range(256))


@dataclass(frozen=True)
class Output:
    """What a script left: exit code (minus the signal's number where one ended it), output and errors."""

    rc: int
    stdout: str
    stderr: str


def pause(seconds: float) -> None:
    """Wait ``seconds``."""
    threading.Event().wait(seconds)


class GuestAgent:
    """The agent of one running domain.

    :param domain: its UUID
    :param wait: waits the given seconds between two looks
    :param stretch: tells how busy the node is
    """

    def __init__(
        self, host: VmHost, domain: str, wait: Callable[[float], None] = pause, stretch: Stretch = stretch
    ) -> None:
        self._host, self._uuid, self._wait, self._stretch = host, domain, wait, stretch

    def ping(self) -> None:
        """Return when the agent answers; VirtError when it does not (yet)."""
        self._call("guest-ping", {}, PING_S)

    def clock(self) -> float:
        """Return the guest's clock, in seconds since the epoch."""
        answer = self._call("guest-get-time")
        if not isinstance(answer, int):
            raise VirtError(object=f"guest agent of {self._uuid}", reason="answered without a time")
        return answer / 1e9

    def run(self, script: str, timeout_s: float) -> Output:
        """Run a /bin/sh script as the guest's root and return what it left.

        The script goes in on standard input, so that process lists don't show what it holds; a large one is packed,
        and goes in in pieces.

        :param timeout_s: of a node that is not busy
        :raises VirtError: the agent did not answer, or the script did not end in time
        """
        content = script.encode()
        if len(content) <= PIECE:
            return self._shell(content, timeout_s)
        packed = gzip.compress(content, mtime=0)
        file = f"/run/wnodes.{uuid.uuid4().hex}"
        *pieces, last = (packed[begin : begin + PIECE] for begin in range(0, len(packed), PIECE))
        for piece in pieces:
            kept = self._shell(piece, timeout_s, f"umask 077; cat >> {file}")
            if kept.rc != 0:
                return kept
        if pieces:
            return self._shell(last, timeout_s, f"{{ cat {file} -; rm {file}; }} | {UNPACK}")
        return self._shell(last, timeout_s, UNPACK)

    def _shell(self, content: bytes, timeout_s: float, *command: str) -> Output:
        """Let a shell run ``command``, which gets ``content`` on its standard input; by default it is the script."""
        begun = time.monotonic()
        told = {
            "path": "/bin/sh",
            "arg": ["-c", *command] if command else [],
            "input-data": base64.b64encode(content).decode(),
            "capture-output": True,
        }
        pid = self._field(self._call("guest-exec", told), "pid")
        wait = POLL_S[0]
        while True:
            status = self._status(pid)
            if self._field(status, "exited"):
                rc = int(status.get("exitcode", -int(status.get("signal", 1))))
                return Output(rc, _text(status.get("out-data", "")), _text(status.get("err-data", "")))
            limit_s = timeout_s * self._stretch()
            if time.monotonic() - begun > limit_s:
                raise VirtError(object=f"script in {self._uuid}", reason=f"did not end within {limit_s:.3g} s")
            self._wait(wait)
            wait = min(wait * 1.5, POLL_S[1])

    def setup(self, setup: GuestSetup, timeout_s: float) -> None:
        """Write the files and run the commands of ``setup`` in one go; VirtError says which failed and how."""
        output = self.run(setup_script(setup), timeout_s)
        if output.rc != 0:
            said = (output.stderr.strip() or output.stdout.strip())[-2000:]
            raise VirtError(object=f"setup in {self._uuid}", reason=f"exit code {output.rc}: {said}")

    def _call(self, command: str, arguments: Optional[Dict[str, Any]] = None, limit_s: float = CALL_S) -> Any:
        return self._host.agent(self._uuid, command, arguments or {}, limit_s * self._stretch())

    def _status(self, pid: int) -> Any:
        try:
            return self._call("guest-exec-status", {"pid": pid})
        except VirtError:
            found = self._host.find(self._uuid)
            if found is None or not found.active:
                raise
            # an answer that came too late says nothing of the script
            return {"exited": False}

    def _field(self, answer: Any, name: str) -> Any:
        if not isinstance(answer, dict) or name not in answer:
            raise VirtError(object=f"guest agent of {self._uuid}", reason=f"answered without {name!r}")
        return answer[name]


def _text(data: str) -> str:
    try:
        return base64.b64decode(data).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def assignments(values: Mapping[str, str]) -> str:
    """Return shell assignments, one a line, that give each name its value whatever it holds."""
    for name, value in values.items():
        if "\0" in value:
            raise RequestError(object=f"guest value {name}", reason="holds a NUL byte")
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def read_assignments(script: str) -> Dict[str, str]:
    """Return what ``assignments`` wrote at the top of ``script``, up to the first empty line."""
    head = shlex.split(script.partition("\n\n")[0])
    return dict(token.split("=", 1) for token in head if "=" in token)


# Each file appears whole and with its final owner and mode, or not at all; but for those written in place, which take
# no process: without hardware virtualisation that is 50 ms each.
_SETUP = """
write() {
    umask "$2" && printf "$4" > "$1" && { [ "$3" = root:root ] || [ ! -O "$1" ] || chown -- "$3" "$1"; } ||
    { echo "file $1 could not be written" >&2; exit 1; }
    umask 022
}
put() {
    { [ -d "${1%/*}/" ] || mkdir -p -- "${1%/*}/"; } && (umask 077 && printf %s "$5" > "$1.wnodes") &&
    chown -- "$3:$4" "$1.wnodes" && chmod -- "$2" "$1.wnodes" && mv -fT -- "$1.wnodes" "$1" ||
    { echo "file $1 could not be written" >&2; exit 1; }
}
try() {
    "$@" < /dev/null || { rc=$?; echo "command failed with exit code $rc: $*" >&2; exit 1; }
}
"""


def setup_script(setup: GuestSetup) -> str:
    """Return the /bin/sh script that does ``setup`` and ends at the first failure."""
    lines = [_SETUP.lstrip("\n")]
    for file in setup.files:
        if not file.path.startswith("/"):
            raise RequestError(object="guest file", value=file.path, reason="must be an absolute path")
        if file.in_place:
            owner = f"{file.owner}:{file.group}"
            content = escaped(file.content, file.encoding)
            lines.append(_call("write", file.path, f"{0o666 & ~file.mode:o}", owner, content))
        else:
            lines.append(_call("put", file.path, f"{file.mode:o}", file.owner, file.group, file.content))
    for command in setup.commands:
        if not command:
            raise RequestError(object="guest command", reason="is empty")
        lines.append(_call("try", *command))
    return "".join(lines)


def escaped(content: str, encoding: str = "utf-8") -> str:
    """Return a text as a format of printf, which can give any byte."""
    return "".join(map(_ESCAPED.__getitem__, content.encode(encoding)))


def _call(*words: str) -> str:
    if any("\0" in word for word in words):
        raise RequestError(object="guest setup", reason="holds a NUL byte")
    return shlex.join(words) + "\n"
