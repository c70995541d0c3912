# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Typed errors. Each names the object, the offending value, the reason and the cure."""

from __future__ import annotations

from typing import Dict


class WnodesError(Exception):
    """Base of all our errors.

    :param object: what it is about, e.g. ``"image worker_debian12_x86_64"``
    :param value: the value that was seen, as text; empty where there is none
    :param reason: why that can't be
    :param hint: what the reader can do about it
    """

    #: whether the same call may succeed later with nothing changed by the caller
    transient = False

    def __init__(self, *, object: str, reason: str, value: str = "", hint: str = "") -> None:
        self.object, self.value, self.reason, self.hint = object, value, reason, hint
        super().__init__(str(self))

    def __str__(self) -> str:
        text = self.object
        if self.value:
            text += f" ({self.value})"
        text += f": {self.reason}"
        return f"{text}; {self.hint}" if self.hint else text

    def as_dict(self) -> Dict[str, str]:
        """Return ``{"error", "object", "value", "reason", "hint"}``, all strings, for JSON."""
        return {
            "error": type(self).__name__,
            "object": self.object,
            "value": self.value,
            "reason": self.reason,
            "hint": self.hint,
        }


class ConfigError(WnodesError):
    """A configuration file is missing, unreadable or holds a wrong key or value."""


class RequestError(WnodesError):
    """What a user or caller asked for can never be met."""


class NotFoundError(WnodesError):
    """The named object does not exist (any more)."""


class StateError(WnodesError):
    """A move that the state tables do not allow, or a call that does not fit the state."""


class AuthError(WnodesError):
    """The caller may not do this."""


class UnavailableError(WnodesError):
    """A component does not answer now; nothing is known about the object."""

    transient = True


class NoRoomError(UnavailableError):
    """What was asked for can be had here, but not now: others have it."""


class CommandFailed(UnavailableError):
    """A process ended badly; ``reason`` carries exit code and standard error."""


class LrmsError(UnavailableError):
    """The batch system refused or failed a call."""


class LrmsRefused(LrmsError):
    """The batch system has answered, and would not do it."""


class VirtError(UnavailableError):
    """libvirt, QEMU or the guest refused or failed a call."""


class NetworkError(UnavailableError):
    """A network device or its configuration could not be read or applied."""


class DirectoryError(UnavailableError):
    """The site's directory could not be read or written."""


class ImageError(WnodesError):
    """An image is not what it must be: damaged, forbidden inside, wrong format."""
