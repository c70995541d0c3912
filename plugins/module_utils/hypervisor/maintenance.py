# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hypervisor does besides making VMs: renew leases, ask its neighbours how they are, reap orphans."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from ..directory.base import Heartbeat
from ..model.errors import DirectoryError, UnavailableError, WnodesError
from ..model.lease import Lease
from ..model.states import VmState
from ..model.vm import Vm
from ..virt.base import FoundDomain
from .catalogue import WARM, Catalogue
from .context import TRASH, HypervisorContext
from .registry import Superseded
from .templates import TEMPLATES, NodeTemplates

log = logging.getLogger(__name__)

SWEEP_S = 10.0
#: the step that renews leases
RENEW = ":renew"
#: seconds after which a step that only asks and tells hangs; all others may copy or read images
LIMITS_S = dict.fromkeys((":host", ":beat", RENEW, ":sweep"), 300.0)
NOT_ASKED = "has not been asked yet"


@dataclass(frozen=True)
class LeaseFigures:
    """How the leases of this node's VMs are.

    :param failed: rounds since the start that did not renew all of them
    :param left_s: for how many seconds the one that ends first is good; None: there is none
    """

    failed: int = 0
    left_s: Optional[float] = None


class Maintenance:
    """Steps that concern no VM in particular. ``steps`` gives them by key; keys can't be request ids.

    :param wake: wakes a key, at once
    :param beat: what the nameserver is told of us
    """

    def __init__(
        self, context: HypervisorContext, wake: Callable[[str], None], beat: Callable[[], Dict[str, Any]]
    ) -> None:
        self._context, self._wake, self._beat = context, wake, beat
        self._problems: Dict[str, str] = dict.fromkeys(("node", "libvirt", "nameserver", "images"), NOT_ASKED)
        #: what the nameserver's image tags mean here
        self.catalogue = Catalogue(context, self._read_tags, lambda: bool(self._problems["nameserver"]))
        #: what VMs are restored from here
        self.templates = NodeTemplates(context, self.catalogue)
        self._orphans: Dict[str, float] = {}
        self._renewed: Dict[str, float] = {}
        self._failed_renewals = 0
        self._scrubbed = False
        self.steps: Dict[str, Callable[[], Optional[float]]] = {
            ":host": self._ask_host,
            ":tags": self._ask_tags,
            WARM: self._warm,
            ":scrub": self._scrub,
            ":beat": self._tell,
            RENEW: self._renew,
            ":sweep": self._sweep,
            TRASH: self._empty_trash,
            TEMPLATES: self.templates.step,
        }

    @property
    def problems(self) -> Tuple[str, ...]:
        """What is wrong now, one sentence each."""
        return tuple(f"{name}: {reason}" for name, reason in sorted(self._problems.items()) if reason)

    def _ask_host(self) -> float:
        self._note("node", self._context.node_problems())
        self._ask("libvirt", self._context.host.ping)
        return self._context.config.heartbeat_s

    def _ask_tags(self) -> float:
        self._read_tags()
        return self._context.config.heartbeat_s

    def _read_tags(self) -> None:
        self._ask("nameserver", self.catalogue.read)
        self._ask("images", self.catalogue.sort_out)

    def _warm(self) -> float:
        self.catalogue.warm()
        return self._context.config.heartbeat_s

    def _scrub(self) -> float:
        if self._scrubbed:
            for digest in self._context.images.scrub():
                self.catalogue.distrust(digest)
        self._scrubbed = True  # whatever is used after a start is read then anyway
        return self._context.config.image_scrub_s

    def _tell(self) -> float:
        heartbeat = Heartbeat("hypervisor", self._context.config.host, status=self._beat())
        self._ask("nameserver", lambda: self._context.nameserver.beat(heartbeat))
        return self._context.config.heartbeat_s

    def _ask(self, name: str, ask: Callable[[], None]) -> None:
        try:
            ask()
            self._note(name, "")
        except WnodesError as error:
            self._note(name, str(error))

    def _note(self, name: str, after: str) -> None:
        before, self._problems[name] = self._problems[name], after
        if after and (not before or before == NOT_ASKED):
            log.warning("%s: %s; running VMs are left as they are", name, after)
        elif before and not after:
            log.info("%s works again", name)
            self._context.wake_maintenance(RENEW)  # at once: leases may have little time left
            for vm in self._context.vms.active():
                self._wake(vm.id)

    def _renew(self) -> float:
        holding = {vm.id: vm for vm in self._context.vms.active() if vm.lease and vm.state is not VmState.RECYCLING}
        config, now = self._context.config, self._context.clock.now()
        try:
            renewed = self._context.nameserver.renew(config.host, tuple(holding), config.lease_ttl_s) if holding else ()
            leases = {lease.holder: lease for lease in renewed}
            self._renewed = {
                **{key: at for key, at in self._renewed.items() if key in holding},
                **dict.fromkeys(leases, now),
            }
            self._keep_all(holding, leases)
        except WnodesError:
            self._failed_renewals += 1
            raise
        return config.lease_ttl_s / 4

    def _keep_all(self, holding: Mapping[str, Vm], leases: Mapping[str, Lease]) -> None:
        trouble: Optional[WnodesError] = None
        for vm_id, vm in holding.items():
            try:
                self._keep(vm, leases.get(vm_id))
            except WnodesError as error:  # a VM that has lost its name is no trouble of the others
                trouble = trouble or error
                if isinstance(error, UnavailableError) and not isinstance(error, DirectoryError):
                    break  # the nameserver is away: each of them would wait for it
        if trouble is not None:
            raise trouble

    def leases(self) -> LeaseFigures:
        """Return how the leases are, by this node's clock."""
        clock, ttl_s = self._context.clock, self._context.config.lease_ttl_s
        held = [vm for vm in self._context.vms.active() if vm.lease and vm.state is not VmState.RECYCLING]
        # at first, a lease is as old as the state that came after PLANNED
        ages = [clock.since(self._renewed.get(vm.id, vm.history[1].at)) for vm in held if len(vm.history) > 1]
        return LeaseFigures(self._failed_renewals, ttl_s - max(ages) if ages else None)

    def _keep(self, vm: Vm, lease: Optional[Lease]) -> None:
        """Note a renewed lease. A lost one is asked for again: after a long outage, or at a nameserver that has lost
        its directory, its name may still be free.
        """
        held = vm.lease
        if held is None:
            return
        if lease is None and vm.state is VmState.BROKEN:
            # its name and address may be another VM's by now
            self._context.host.destroy(vm.uuid)
            return
        if lease is None:
            lease = self._context.nameserver.lease(
                vm.id, self._context.config.host, self._context.config.lease_ttl_s, held.name
            )
        try:
            # another step may have changed the record while the nameserver was asked
            current = self._context.vms.get(vm.id)
            if (lease.name, lease.mac, lease.address) == (held.name, held.mac, held.address):
                self._context.vms.change(current, lease=lease)
            elif current.state not in (VmState.BROKEN, VmState.RECYCLING):
                self._context.nameserver.release(vm.id, lease.epoch)
                self._context.vms.move(
                    current, VmState.BROKEN, f"its lease of {held.name} ran out and went to somebody else"
                )
                self._context.host.destroy(vm.uuid)
        except Superseded:
            log.debug("vm=%s moved while its lease was renewed", vm.id)

    def _sweep(self) -> float:
        """Reap what is ours by its metadata and in no record; only on full knowledge, only after a delay."""
        try:
            found = self._context.host.list()
        except WnodesError:
            self._orphans.clear()  # the delay is one of full knowledge
            raise
        known = {vm.id for vm in self._context.vms.active()} | {self.templates.under_construction}
        orphans = {
            domain.metadata.request: domain
            for domain in found
            if domain.metadata is not None and domain.metadata.request not in known
        }
        strays = set(self._context.files.all()) - known
        now = self._context.clock.now()
        missing = set(orphans) | strays
        self._orphans = {vm_id: self._orphans.get(vm_id, now) for vm_id in missing}
        for vm_id, since in list(self._orphans.items()):
            if now - since >= self._context.config.orphan_delay_s:
                self._reap(vm_id, orphans.get(vm_id))
        return SWEEP_S

    def _reap(self, vm_id: str, domain: Optional[FoundDomain]) -> None:
        vm = self._context.vms.find(vm_id)
        if vm is not None and vm.state is not VmState.GONE:
            return
        if domain is not None and domain.metadata is not None:
            log.warning("vm=%s domain %s is ours but has no record: destroyed", vm_id, domain.name)
            self._context.host.destroy(domain.uuid)
            self._context.nameserver.release(vm_id, domain.metadata.epoch)
        else:
            log.info("vm=%s left files behind: deleted", vm_id)
        self._context.files.discard(vm_id)
        self._context.wake_maintenance(TRASH)

    def _empty_trash(self) -> None:
        self._context.files.empty_trash()
