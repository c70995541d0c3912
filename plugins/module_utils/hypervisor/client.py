# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hypervisor's calls, made over its Unix socket."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

from ..jsonhttp import PKI_DIR, JsonClient, node_client, path, unix_client
from ..load import MOST
from ..model.codec import decode, encode
from ..model.vm import GuestSetup, Vm, VmEvent, VmRequest, VmUser
from ..support import LIMIT_S
from .api import ConsolePart, HypervisorApi, HypervisorStatus

SOCKET = "/run/wnodes/hypervisor.sock"
#: how modules are told where it is; the doc fragment `hypervisor` describes it
ACCESS_SPEC: Dict[str, Any] = {"socket": {"type": "path", "default": SOCKET}}
#: a setup runs commands in a guest; the hypervisor's own limit ends it before this many seconds are over
SETUP_S = 120.0


class HypervisorClient(HypervisorApi):
    """:class:`HypervisorApi` of a hypervisor elsewhere; UnavailableError while it does not answer in time."""

    def __init__(self, client: JsonClient) -> None:
        self._client = client

    @classmethod
    def local(cls, socket_path: str = SOCKET, timeout_s: float = 10.0) -> HypervisorClient:
        """Return a client of the hypervisor on this machine; connections are made when they are needed."""
        return cls(unix_client("hypervisor", socket_path, timeout_s))

    @classmethod
    def of_node(
        cls, node: str, place: Tuple[str, int], pki_dir: str = PKI_DIR, timeout_s: float = 10.0
    ) -> HypervisorClient:
        """Return a manager's client of the hypervisor on another node, at ``place`` (host and port)."""
        return cls(node_client("hypervisor", node, place, pki_dir, timeout_s))

    def create(self, request: VmRequest) -> Vm:
        return self._vm("PUT", path("v1", "vms", request.id), encode(request))

    def get(self, vm_id: str) -> Vm:
        return self._vm("GET", path("v1", "vms", vm_id))

    def list(self) -> Tuple[Vm, ...]:
        return tuple(decode(Vm, item, "VM") for item in self._client.call("GET", path("v1", "vms")))

    def setup(self, vm_id: str, setup: GuestSetup) -> None:
        self._client.call("POST", path("v1", "vms", vm_id, "setup"), encode(setup), extra_s=SETUP_S * MOST)

    def use(self, vm_id: str, user: Optional[VmUser] = None) -> Vm:
        return self._vm("POST", path("v1", "vms", vm_id, "use"), encode(user) if user else None)

    def destroy(self, vm_id: str) -> Vm:
        return self._vm("DELETE", path("v1", "vms", vm_id))

    def events(self, after: int, timeout_s: float) -> Tuple[VmEvent, ...]:
        target = path("v1", "events", after=after, timeout_s=f"{timeout_s:g}")
        return tuple(decode(VmEvent, item, "event") for item in self._client.call("GET", target, extra_s=timeout_s))

    def console(self, vm_id: str, offset: int) -> ConsolePart:
        target = path("v1", "vms", vm_id, "console", offset=offset)
        return decode(ConsolePart, self._client.call("GET", target), "console")

    def doctor(self, extra_s: float) -> Dict[str, Any]:
        """Return ``{"version", "findings"}`` of the checks that it can make of its node, some of which take long."""
        return dict(self._client.call("GET", path("v1", "doctor"), extra_s=extra_s))

    def bundle(self) -> Dict[str, str]:
        """Return the node's part of a support bundle: file name → text."""
        return dict(self._client.call("GET", path("v1", "bundle"), extra_s=LIMIT_S))

    def status(self) -> HypervisorStatus:
        return decode(HypervisorStatus, self._client.call("GET", path("v1", "status")), "status")

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._client.close()

    def _vm(self, method: str, target: str, body: object = None) -> Vm:
        return decode(Vm, self._client.call(method, target, body), "VM")
