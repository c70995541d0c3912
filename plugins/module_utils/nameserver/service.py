# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what with the directory: one view of it for each caller."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, Optional, Tuple

from ..directory.base import Directory, Heartbeat, HostNames
from ..model.caller import Caller
from ..model.errors import AuthError
from ..model.image import Release, Rollout, TagEntry
from ..model.lease import Lease


def user_caller(uid: int) -> Caller:
    """Return who speaks on the nameserver's own Unix socket: root is the site's manager."""
    return Caller("manager") if uid == 0 else Caller("user", uid=uid)


class DirectoryView(Directory):
    """The directory as one caller may use it; AuthError for the rest."""

    def __init__(self, directory: Directory, caller: Caller) -> None:
        self._directory, self._caller = directory, caller

    def _allow(self, what: str, *roles: str) -> None:
        if self._caller.role not in roles and self._caller.role != "manager":
            raise AuthError(object=what, value=str(self._caller), reason="is not allowed to do this")

    def _allow_own(self, what: str, node: str, *roles: str) -> None:
        self._allow(what, *roles)
        if self._caller.role != "manager" and self._caller.node != node:
            raise AuthError(object=what, value=str(self._caller), reason=f"may not act for {node!r}")

    def lease(self, holder: str, owner: str, ttl_s: float, name: str = "") -> Lease:
        self._allow_own("lease", owner, "hypervisor")
        return self._directory.lease(holder, owner, ttl_s, name)

    def renew(self, owner: str, holders: Tuple[str, ...], ttl_s: float) -> Tuple[Lease, ...]:
        self._allow_own("renew", owner, "hypervisor")
        return self._directory.renew(owner, holders, ttl_s)

    def release(self, holder: str, epoch: int) -> bool:
        self._allow("release", "hypervisor")
        for lease in self._directory.leases():
            if lease.holder == holder:
                self._allow_own("release", lease.owner, "hypervisor")
        return self._directory.release(holder, epoch)

    def leases(self) -> Tuple[Lease, ...]:
        self._allow("leases")
        return self._directory.leases()

    def set_host_names(self, pool: HostNames) -> None:
        self._allow("set_host_names")
        self._directory.set_host_names(pool)

    def set_tags(self, tags: Tuple[str, ...], release: Release) -> Tuple[TagEntry, ...]:
        self._allow("set_tags")
        return self._directory.set_tags(tags, release)

    def roll_out(self, tag: str, rollout: Optional[Rollout]) -> TagEntry:
        self._allow("roll_out")
        return self._directory.roll_out(tag, rollout)

    def history(self, tag: str) -> Tuple[TagEntry, ...]:
        self._allow("history", "user")
        return self._directory.history(tag)

    def tag(self, tag: str) -> TagEntry:
        self._allow("tag", "hypervisor", "bait", "user")
        return self._directory.tag(tag)

    def tags(self) -> Tuple[TagEntry, ...]:
        self._allow("tags", "hypervisor", "bait", "user")
        return self._directory.tags()

    def remove_tag(self, tag: str) -> bool:
        self._allow("remove_tag")
        return self._directory.remove_tag(tag)

    def set_config(self, scope: str, values: Dict[str, Any]) -> None:
        self._allow("set_config")
        self._directory.set_config(scope, values)

    def config(self, scope: str) -> Dict[str, Any]:
        self._allow("config", "hypervisor", "bait")
        return self._directory.config(scope)

    def beat(self, heartbeat: Heartbeat) -> None:
        self._allow_own("beat", heartbeat.host, heartbeat.role)
        self._directory.beat(heartbeat)

    def heartbeats(self) -> Tuple[Heartbeat, ...]:
        self._allow("heartbeats", "bait", "user")
        beats = self._directory.heartbeats()
        if self._caller.role == "bait":  # it has to know who is dead, and nothing else of others
            return tuple(replace(beat, status={}) for beat in beats)
        return beats if self._caller.role == "manager" else own_part(beats, self._caller.uid)

    def forget(self, host: str) -> Tuple[str, ...]:
        self._allow("forget")
        return self._directory.forget(host)


def own_part(beats: Tuple[Heartbeat, ...], uid: Optional[int]) -> Tuple[Heartbeat, ...]:
    """Return heartbeats with only the jobs of ``uid`` and the VMs those run in."""
    jobs = {(beat.host, beat.role): [job for job in told(beat, "jobs") if job.get("uid") == uid] for beat in beats}
    hosts = {job["host"] for mine in jobs.values() for job in mine if job.get("host")}
    result = []
    for beat in beats:
        status = dict(beat.status)
        if "jobs" in status:
            status["jobs"] = jobs[beat.host, beat.role]
        if "vms" in status:
            status["vms"] = [vm for vm in told(beat, "vms") if (vm.get("lease") or {}).get("name") in hosts]
        result.append(replace(beat, status=status))
    return tuple(result)


def told(beat: Heartbeat, key: str) -> Tuple[Dict[str, Any], ...]:
    """Return the objects a service lists under ``key``; what it says is its own affair, so anything may be there."""
    items = beat.status.get(key)
    return tuple(item for item in items if isinstance(item, dict)) if isinstance(items, list) else ()
