# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs that are offered to the batch system."""

from __future__ import annotations

from typing import Any

from tests.unit.plugins.module_utils.bait.bait_fixture import TAG, Site, flavour, pooled
from wnodes.lrms.base import HostState, LrmsJobState
from wnodes_services.rules import parse


def offered(path: str = ":memory:", rules: str = "") -> Site:
    return pooled(flavour(1), path=path, rules=parse(rules, "r"), offer=True)


def sent(site: Site, **submit: Any) -> str:
    """Let the batch system start a job on the VM that is offered; return its id."""
    (vm,) = site.pool()
    number = site.lrms.submit(**{"tag": TAG, **submit})
    site.lrms.change(number, state=LrmsJobState.RUNNING, host=vm.host)
    site.lrms.hosts[vm.host].state = HostState.BUSY
    site.bait.pool.wake(vm.id)
    return number
