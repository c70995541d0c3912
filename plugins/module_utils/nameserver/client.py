# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory, by way of the nameserver."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

from ..directory.base import Directory, Heartbeat, HostNames
from ..jsonhttp import JsonClient, path, tls_client, unix_client
from ..model.caller import DOMAIN
from ..model.codec import decode, encode
from ..model.image import Release, Rollout, TagEntry
from ..model.lease import Lease
from .config import SOCKET, NameserverAccess

#: how modules are told where it is; the doc fragment `nameserver` describes it
ACCESS_SPEC: Dict[str, Any] = {"socket": {"type": "path", "default": SOCKET}}
#: what a nameserver's certificate must carry, whatever address it is reached at
SERVER_NAME = "nameserver" + DOMAIN


class NameserverClient(Directory):
    """The directory's calls, made to the nameserver; UnavailableError while it does not answer."""

    def __init__(self, client: JsonClient) -> None:
        self._client = client

    @classmethod
    def connect(cls, access: NameserverAccess, role: str) -> NameserverClient:
        """Return a client over mutual TLS that speaks for ``role``; connections are made when they are needed."""
        hint = "is wnodes-nameserver.service running there?"
        where = (access.place(), SERVER_NAME, hint, access.pki_dir)
        return cls(tls_client(f"nameserver ({access.url})", *where, role, access.timeout_s))

    @classmethod
    def local(cls, socket_path: str = SOCKET) -> NameserverClient:
        """Return a client of the nameserver on this machine."""
        return cls(unix_client("nameserver", socket_path))

    def lease(self, holder: str, owner: str, ttl_s: float, name: str = "") -> Lease:
        body = {"owner": owner, "ttl_s": ttl_s, **({"name": name} if name else {})}
        answer = self._client.call("PUT", path("v1", "leases", holder), body)
        return decode(Lease, answer, "lease")

    def renew(self, owner: str, holders: Tuple[str, ...], ttl_s: float) -> Tuple[Lease, ...]:
        body = {"owner": owner, "holders": list(holders), "ttl_s": ttl_s}
        return tuple(decode(Lease, item, "lease") for item in self._client.call("POST", path("v1", "renewals"), body))

    def release(self, holder: str, epoch: int) -> bool:
        return bool(self._client.call("DELETE", path("v1", "leases", holder, epoch=epoch))["released"])

    def leases(self) -> Tuple[Lease, ...]:
        return tuple(decode(Lease, item, "lease") for item in self._client.call("GET", path("v1", "leases")))

    def set_host_names(self, pool: HostNames) -> None:
        self._client.call("PUT", path("v1", "pool"), encode(pool))

    def set_tags(self, tags: Tuple[str, ...], release: Release) -> Tuple[TagEntry, ...]:
        body = {"tags": list(tags), "release": encode(release)}
        return tuple(decode(TagEntry, item, "tag") for item in self._client.call("POST", path("v1", "tags"), body))

    def roll_out(self, tag: str, rollout: Optional[Rollout]) -> TagEntry:
        body = {"rollout": encode(rollout)}
        return decode(TagEntry, self._client.call("PUT", path("v1", "tags", tag, "rollout"), body), "tag")

    def history(self, tag: str) -> Tuple[TagEntry, ...]:
        answer = self._client.call("GET", path("v1", "tags", tag, "history"))
        return tuple(decode(TagEntry, item, "tag") for item in answer)

    def tag(self, tag: str) -> TagEntry:
        return decode(TagEntry, self._client.call("GET", path("v1", "tags", tag)), "tag")

    def tags(self) -> Tuple[TagEntry, ...]:
        return tuple(decode(TagEntry, item, "tag") for item in self._client.call("GET", path("v1", "tags")))

    def remove_tag(self, tag: str) -> bool:
        return bool(self._client.call("DELETE", path("v1", "tags", tag))["removed"])

    def set_config(self, scope: str, values: Dict[str, Any]) -> None:
        self._client.call("PUT", path("v1", "config", scope), values)

    def config(self, scope: str) -> Dict[str, Any]:
        return dict(self._client.call("GET", path("v1", "config", scope)))

    def beat(self, heartbeat: Heartbeat) -> None:
        self._client.call("PUT", path("v1", "heartbeats", heartbeat.role, heartbeat.host), encode(heartbeat.status))

    def heartbeats(self) -> Tuple[Heartbeat, ...]:
        answer = self._client.call("GET", path("v1", "heartbeats"))
        return tuple(decode(Heartbeat, item, "heartbeat") for item in answer)

    def forget(self, host: str) -> Tuple[str, ...]:
        return tuple(self._client.call("DELETE", path("v1", "hosts", host))["dropped"])

    def status(self) -> Dict[str, Any]:
        """Return ``{"ok", "problems", "heartbeat_s", "now", "pool", "leased"}`` of the nameserver itself."""
        return dict(self._client.call("GET", path("v1", "status")))

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._client.close()
