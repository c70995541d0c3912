# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bait's calls, made over its Unix socket or from the site's head."""

from __future__ import annotations

from typing import Any, Dict, Tuple

from ..jsonhttp import PKI_DIR, JsonClient, node_client, path, unix_client
from ..model.codec import encode
from ..support import LIMIT_S
from .drain import DrainWish

SOCKET = "/run/wnodes/bait.sock"


class BaitClient:
    """What a bait tells and does; UnavailableError while it does not answer in time."""

    def __init__(self, client: JsonClient) -> None:
        self._client = client

    @classmethod
    def local(cls, socket_path: str = SOCKET, timeout_s: float = 10.0) -> BaitClient:
        """Return a client of the bait on this machine; connections are made when they are needed."""
        return cls(unix_client("bait", socket_path, timeout_s))

    @classmethod
    def of_node(cls, node: str, place: Tuple[str, int], pki_dir: str = PKI_DIR, timeout_s: float = 10.0) -> BaitClient:
        """Return a manager's client of the bait on another node, at ``place`` (host and port)."""
        return cls(node_client("bait", node, place, pki_dir, timeout_s))

    def status(self) -> Dict[str, Any]:
        """Return how the bait is, with the jobs the caller may see (see ``Bait.status``)."""
        return dict(self._client.call("GET", path("v1", "status")))

    def bundle(self) -> Dict[str, str]:
        """Return the node's part of a support bundle: file name → text."""
        return dict(self._client.call("GET", path("v1", "bundle"), extra_s=LIMIT_S))

    def drain(self, wish: DrainWish) -> Dict[str, Any]:
        """Let the node take no more jobs; return ``{"changed", "drain", "problems"}``.

        :raises RequestError: the wish makes no sense
        """
        return dict(self._client.call("POST", path("v1", "drain"), encode(wish)))

    def undrain(self) -> Dict[str, Any]:
        """Let the node take jobs again; return ``{"changed", "drain", "problems"}``."""
        return dict(self._client.call("POST", path("v1", "undrain")))
