# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a VM comes up: restored from its template where there is one, else booted. What fails once is booted."""

from __future__ import annotations

import logging
import time
from typing import Dict, Optional, Tuple

from ..model.errors import CommandFailed, ImageError, NotFoundError, UnavailableError, VirtError
from ..model.image import CachedImage
from ..model.vm import COLD, RESTORE, Vm
from ..virt.clone import clone, complete
from ..virt.domain import Domain
from ..virt.policy import HostFacts, make_domain
from ..virt.template import Template
from .context import TRASH, HypervisorContext
from .templates import NodeTemplates

log = logging.getLogger(__name__)

#: how often a restore is tried of which nothing came back: it may be what takes the host down
ATTEMPTS = 3


class StartFailed(Exception):
    """A VM can't be started, or has ended; the text says why."""


class Starts:
    """Lets domains run. Which way a VM goes is in its record before anything is done, so that a restart of ours knows
    what it finds: what runs of a VM with path ``restore`` is a clone, whole or not, until it is READY."""

    def __init__(self, context: HypervisorContext, templates: NodeTemplates) -> None:
        self._context, self._vms, self._templates = context, context.vms, templates
        self._up: Dict[str, float] = {}
        self._lost: Dict[str, int] = {}

    def bring_up(self, vm: Vm) -> Vm:
        """Let the domain of ``vm`` run, with all its devices, and return ``vm`` as it is then. May be repeated.

        :raises StartFailed: it can't be
        :raises UnavailableError: try again
        """
        found = self._context.host.find(vm.uuid)
        running = found is not None and found.active
        if running and found is not None and found.stalled:
            raise StartFailed(f"QEMU has stopped it: {found.stalled}")
        if vm.id in self._up:
            if not running:
                raise StartFailed("its domain ended while it booted")
            return vm
        template: Optional[Template] = None
        if not running and vm.path != COLD:
            template = self._find(vm)
        if not vm.path:
            vm = self._vms.change(vm, path=RESTORE if template else COLD)
        if vm.path == RESTORE:
            vm, running = self._restore(vm, template, running)
        if not running:
            self._boot(vm)
        # of what ran before we did we only know when it was begun
        self._up[vm.id] = self._context.clock.now() if not found else vm.history[-1].at
        return vm

    def seconds_up(self, vm: Vm) -> float:
        """Return for how long the domain of ``vm`` has been up."""
        return self._context.clock.since(self._up.get(vm.id, vm.history[-1].at))

    def ready(self, vm: Vm) -> None:
        """Note that ``vm`` is READY."""
        self._templates.came_up(vm, vm.path == RESTORE)

    def boot_instead(self, vm: Vm, reason: str) -> None:
        """Give up a clone that does not come up: the next time that ``vm`` is brought up it boots."""
        self._templates.failed(vm)
        self._give_up(vm, reason)

    def unfit(self, vm: Vm) -> None:
        """Note that ``vm`` could not be made what it should be."""
        if vm.path == RESTORE:
            self._templates.failed(vm)

    def forget(self, vm: Vm) -> None:
        """Note that ``vm`` is gone."""
        self._up.pop(vm.id, None)
        self._lost.pop(vm.id, None)

    def _cached(self, vm: Vm) -> CachedImage:
        assert vm.image is not None
        return self._context.images.ensure(vm.image)

    def _domain(self, vm: Vm, cached: CachedImage) -> Domain:
        assert vm.lease is not None
        files = self._context.files.of(vm.id, vm.request.resources.scratch_mib > 0)
        facts = HostFacts(vm.accel, self._context.config.bridge, self._context.config.overheads)
        return make_domain(vm.request, vm.lease, cached, files, facts)

    def _find(self, vm: Vm) -> Optional[Template]:
        try:
            return self._templates.find(vm, self._cached(vm))
        except UnavailableError as error:
            if self._may_be_tried_again(vm, error):
                raise
            log.warning("vm=%s boots without looking for a template: %s", vm.id, error)
            return None

    def _may_be_tried_again(self, vm: Vm, error: UnavailableError) -> bool:
        """Return whether nothing is known after ``error``, and that has not happened too often."""
        if isinstance(error, VirtError):
            return False
        if not isinstance(error, CommandFailed):
            self._lost[vm.id] = self._lost.get(vm.id, 0) + 1
        return self._lost.get(vm.id, 0) < ATTEMPTS

    def _restore(self, vm: Vm, template: Optional[Template], running: bool) -> Tuple[Vm, bool]:
        """Return ``vm`` and whether it runs now; if not, it is to be booted."""
        domain = self._domain(vm, self._cached(vm))
        try:
            if running:
                seconds = complete(self._context.host, domain, self._context.effect)
            elif template is None:
                return self._give_up(vm, "its template is gone"), False
            else:
                self._context.files.make_folder(vm.id)
                self._context.wake_maintenance(TRASH)
                seconds = clone(self._context.host, template, domain, self._context.files.run, self._context.effect)
        except ImageError as error:
            if template is not None:
                self._templates.damaged(template, error)
            return self._give_up(vm, str(error)), False
        except (UnavailableError, NotFoundError) as error:
            if isinstance(error, UnavailableError) and self._may_be_tried_again(vm, error):
                raise
            self._templates.failed(vm)
            return self._give_up(vm, str(error)), False
        took = ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
        log.info("vm=%s domain restored: %s", vm.id, took)
        return vm, True

    def _give_up(self, vm: Vm, reason: str) -> Vm:
        """Boot ``vm``; what runs of it is no clone from then on, so it must be gone before."""
        log.warning("vm=%s could not be restored and boots cold: %s", vm.id, reason)
        self._context.effect("give_up", lambda: self._context.host.destroy(vm.uuid))
        self._up.pop(vm.id, None)
        return self._vms.change(vm, path=COLD)

    def _boot(self, vm: Vm) -> None:
        """Make the domain; a start before a restart of ours left either none of it or all of it running."""
        cached, scratch_mib = self._cached(vm), vm.request.resources.scratch_mib
        self._context.effect("overlay", lambda: self._context.files.prepare(vm.id, cached, scratch_mib))
        self._context.wake_maintenance(TRASH)
        domain = self._domain(vm, cached)
        begun = time.monotonic()
        try:
            self._context.effect("start", lambda: self._context.host.start(domain))
        except VirtError as error:
            raise StartFailed(f"its domain could not be started: {error.reason}") from error
        log.info("vm=%s domain started in %.2f s", vm.id, time.monotonic() - begun)
