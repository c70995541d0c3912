# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The desired state of a VM: its difference from what is, then what makes it true, then the wait."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Callable, Dict, Optional

from ..model.codec import encode
from ..model.errors import NotFoundError, StateError, UnavailableError
from ..model.states import VmState
from ..model.vm import Vm, VmRequest
from .api import HypervisorApi

#: longest single wait for an event, in seconds: an event may be missed, a state is not
LOOK_S = 5.0


@dataclass(frozen=True)
class VmDifference:
    """What is and what shall be; None stands for no VM."""

    before: Optional[VmRequest]
    after: Optional[VmRequest]

    @property
    def changed(self) -> bool:
        """Whether anything has to be done."""
        return self.before != self.after

    def as_diff(self) -> Dict[str, str]:
        """Return Ansible's ``{"before", "after"}``; both are empty where nothing changes."""
        return (
            {"before": _shown(self.before), "after": _shown(self.after)}
            if self.changed
            else {"before": "", "after": ""}
        )


def _shown(request: Optional[VmRequest]) -> str:
    return json.dumps(encode(request), indent=2, sort_keys=True) + "\n" if request else ""


def find(api: HypervisorApi, vm_id: str) -> Optional[Vm]:
    """Return the VM, or None where there never was one or it is GONE."""
    try:
        vm = api.get(vm_id)
    except NotFoundError:
        return None
    return None if vm.state is VmState.GONE else vm


def difference(api: HypervisorApi, vm_id: str, wanted: Optional[VmRequest]) -> VmDifference:
    """Return what separates the VM ``vm_id`` from ``wanted`` (None: it shall not be).

    :raises StateError: it is there and can't become ``wanted``
    """
    vm = find(api, vm_id)
    if vm is None:
        if wanted is not None and any(known.id == vm_id for known in api.list()):
            raise StateError(
                object=f"VM {vm_id}", reason="existed and was removed", hint="use another id for a new one"
            )
        return VmDifference(None, wanted)
    if wanted is not None:
        if vm.state in (VmState.BROKEN, VmState.RECYCLING):
            raise StateError(
                object=f"VM {vm_id}",
                value=vm.state.value,
                reason=vm.reason or "is being removed",
                hint="remove it with state=absent and use another id for a new one",
            )
        if vm.request != wanted:
            raise StateError(
                object=f"VM {vm_id}",
                reason="exists with other properties",
                hint="a VM is never changed: use another id",
            )
    # what is on its way down already needs nothing more from us
    return VmDifference(None if vm.state is VmState.RECYCLING else vm.request, wanted)


def apply(api: HypervisorApi, vm_id: str, difference: VmDifference) -> None:
    """Make the difference go away, or at least begin to."""
    if not difference.changed:
        return
    if difference.after is not None:
        api.create(difference.after)
    else:
        api.destroy(vm_id)


def wait(api: HypervisorApi, vm_id: str, up: bool, timeout_s: float, now: Callable[[], float] = time.monotonic) -> None:
    """Wait until the VM is READY (or IN_USE), or until it is gone where ``up`` is False.

    :raises StateError: it broke, or was taken away
    :raises UnavailableError: ``timeout_s`` seconds were not enough
    """
    end, after = now() + timeout_s, 0
    while True:
        vm = find(api, vm_id)
        if vm is None or vm.state in (VmState.READY, VmState.IN_USE):
            if (vm is not None) == up:
                return
            if up:
                raise StateError(object=f"VM {vm_id}", reason="was removed while it was waited for")
        if up and vm is not None and vm.state in (VmState.BROKEN, VmState.RECYCLING):
            raise StateError(object=f"VM {vm_id}", value=vm.state.value, reason=vm.reason or "is being removed")
        left = end - now()
        if left <= 0:
            state = vm.state.value if vm else "GONE"
            raise UnavailableError(
                object=f"VM {vm_id}", value=state, reason=f"is not {'READY' if up else 'gone'} after {timeout_s:g} s"
            )
        events = api.events(after, min(left, LOOK_S))
        after = events[-1].seq if events else after
