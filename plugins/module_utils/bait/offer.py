# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs that are offered to the batch system: on the books, but giving way to jobs; who comes there, and who has left."""

from __future__ import annotations

from typing import Callable, Optional

from ..lrms.base import Lrms, LrmsJob, LrmsJobState
from ..model.pool import PoolVm
from ..model.resources import Resources

#: how long the LRMS may take to find room for a VM that is to be offered, in seconds
ROOM_S = 15.0


class Offers:
    """What is done for an offered VM besides what is done for each that waits. All of it may be repeated.

    :param charge: what a VM for a request of this size takes of the node
    :param begun: told of a job that the LRMS has sent straight to a VM; from then on the VM is its
    """

    def __init__(
        self, lrms: Lrms, charge: Callable[[Resources], Resources], begun: Callable[[PoolVm, LrmsJob], None]
    ) -> None:
        self._lrms, self._charge, self._begun = lrms, charge, begun

    def place(self, vm: PoolVm) -> str:
        """Return the id of what holds the VM's share of the node; empty while it does not hold it."""
        placeholder = self._lrms.offer(vm.id, self._charge(vm.request.resources))
        return placeholder if self._holds(placeholder) else ""

    def over(self, vm: PoolVm) -> Optional[str]:
        """Return why the VM waits no more: a job has come (empty), or jobs needed its room; None while it waits."""
        for job in self._lrms.jobs_on(vm.host):
            self._begun(vm, job)
            return ""
        return None if self._holds(vm.placeholder) else "jobs need its room"

    def withdraw(self, vm: PoolVm) -> bool:
        """Close the VM's host; return False where a job came in the last moment: the VM is its."""
        self._lrms.close_host(vm.host)
        for job in self._lrms.jobs_on(vm.host):
            self._begun(vm, job)
            return False
        return True

    def _holds(self, placeholder: str) -> bool:
        share = self._lrms.jobs([placeholder]).get(placeholder)
        return share is not None and share.state is LrmsJobState.RUNNING
