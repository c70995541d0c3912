# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates for this node's VMs: told of each VM, it builds what is missing while nobody waits."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import Dict, Optional, Set, Tuple

from ..engine.backoff import backoff
from ..model.errors import ImageError, UnavailableError, VirtError, WnodesError
from ..model.image import CachedImage, Image
from ..model.states import VmState
from ..model.vm import Vm
from ..virt.template import Template
from .api import TemplateStatus
from .catalogue import Catalogue
from .config import TemplateFlavour
from .context import HypervisorContext
from .template_store import TemplateStore, VmKind, kind_of

log = logging.getLogger(__name__)

#: the step of maintenance that builds and throws away
TEMPLATES = ":templates"
#: seconds between two looks whether there is something to do
LOOK_S = 10.0
#: seconds after which what could not be built is tried again: the first time, and at most
RETRY_S = (60.0, 3600.0)
#: memory (MiB) that stays free beside a guest that boots for nobody
MARGIN_MIB = 512
#: VMs in a row that a template may fail to bring up
FAILURES = 2

_COMING_UP = (VmState.STARTING, VmState.PERSONALISING)


class Stopped(Exception):
    """The service ends: nobody waits for the build any more."""


class NodeTemplates:
    """Templates by kind of VM. But for ``step``, which one thread calls, nothing here takes long."""

    def __init__(self, context: HypervisorContext, catalogue: Catalogue) -> None:
        self._context, self._catalogue = context, catalogue
        self._store = TemplateStore(context, catalogue, self._wait, self._removed)
        self._stopping, self._cleared = threading.Event(), False
        self._building: Optional[VmKind] = None
        self._lock = threading.Lock()
        self._wanted: Dict[VmKind, None] = {}
        self._had: Set[Tuple[TemplateFlavour, str]] = set()
        self._failed: Dict[VmKind, int] = {}
        self._pauses: Dict[VmKind, int] = {}
        self._not_before: Dict[VmKind, float] = {}
        self._told: Dict[VmKind, str] = {}

    # For VMs

    def find(self, vm: Vm, image: CachedImage) -> Optional[Template]:
        """Return what ``vm`` can start from, or None.

        :raises UnavailableError: nothing is known: the host or the disk does not answer
        """
        if not self._store.limit:
            return None
        found = self._store.find(image, kind_of(vm))
        if found is not None:
            self._store.record_use(found)
        return found

    def damaged(self, template: Template, error: WnodesError) -> None:
        """Throw away a template whose fault it is that a VM could not start from it."""
        self._store.remove(template.description.shape.key, str(error), logging.WARNING)

    def failed(self, vm: Vm) -> None:
        """Note that ``vm`` could not be brought up from its template; the second time in a row it is thrown away."""
        kind = kind_of(vm)
        with self._lock:
            count = self._failed[kind] = self._failed.get(kind, 0) + 1
            if count < FAILURES:
                return
            del self._failed[kind]
        self._put_off(kind)
        for key in self._store.keys(kind):
            self._store.remove(key, f"{count} VMs in a row could not start from it", logging.WARNING)

    def came_up(self, vm: Vm, restored: bool) -> None:
        """Note that ``vm`` is READY: its template works, or one is missing."""
        kind = kind_of(vm)
        with self._lock:
            if restored:
                self._failed.pop(kind, None)
                self._pauses.pop(kind, None)
            else:
                self._wanted.setdefault(kind)
        if not restored and self._store.limit:
            self._context.wake_maintenance(TEMPLATES)

    # For maintenance

    @property
    def under_construction(self) -> str:
        """The request id in the domain of the build that is under way, empty where none is."""
        return self._store.building

    @property
    def images(self) -> Set[str]:
        """The digests of images whose templates are kept, or built."""
        building = self._building
        return self._store.images | ({building.digest} if building else set())

    def status(self) -> TemplateStatus:
        """Return what is here."""
        building = self._building
        return TemplateStatus(len(self._store.kept), self._store.size, str(building) if building else "")

    def stop(self) -> None:
        """Let the build that is under way end soon, and without result."""
        self._stopping.set()

    def step(self) -> Optional[float]:
        """Throw away what is of no use, then build one template if nobody would mind."""
        try:
            if not self._cleared:
                self._store.clear()
                self._cleared = True
            self._store.prune()
            if not self._store.limit:
                return None
            self._want_flavours()
            for kind, image in self._due():
                if self._try(kind, image):
                    return 0.0
        except Stopped:
            return None
        return LOOK_S

    def _wait(self, seconds: float) -> None:
        if self._stopping.is_set():
            raise Stopped
        self._context.pause(seconds)

    def _removed(self) -> None:
        self._had.clear()  # what is configured is built again
        self._context.wake_maintenance(TEMPLATES)

    def _want_flavours(self) -> None:
        ready = self._catalogue.ready()
        for wanted in self._context.config.template_flavours:
            image = ready.get(wanted.tag)
            # once: where not all have room, each would push out the one before for ever
            if image is None or (wanted, image.digest) in self._had:
                continue
            with contextlib.suppress(ImageError, UnavailableError):
                accel = self._context.accel(self._context.images.ensure(image))
                self._had.add((wanted, image.digest))
                with self._lock:
                    self._wanted.setdefault(VmKind(image.digest, wanted.resources, accel))

    def _due(self) -> Tuple[Tuple[VmKind, Image], ...]:
        """Return what may be built now, what was wanted first first."""
        ready, now = {image.digest: image for image in self._catalogue.ready().values()}, self._context.clock.now()
        with self._lock:
            due = [kind for kind in self._wanted if self._not_before.get(kind, 0.0) <= now]
        return tuple((kind, ready[kind.digest]) for kind in due if kind.digest in ready)

    def _is_room(self, kind: VmKind) -> bool:
        """Return whether the node has nothing better to do, and enough memory and disk that are really free."""
        vms = self._context.vms.active()
        if any(vm.state in _COMING_UP for vm in vms):
            return False
        charge = self._context.config.overheads.charge(kind.resources).memory_mib
        if self._context.available_mib() < charge + MARGIN_MIB:
            return False
        return self._context.disk.free_mib(vms) >= charge

    def _try(self, kind: VmKind, image: Image) -> bool:
        """Build a template unless there is one or there is no room; return whether one was built."""
        try:
            cached = self._context.images.ensure(image)
            built = self._store.find(cached, kind) is None
            if built:
                if not self._is_room(kind):
                    return False
                self._build(kind, cached)
        except (ImageError, UnavailableError) as error:
            self._could_not(kind, error)
            return False
        with self._lock:
            self._wanted.pop(kind, None)
            self._not_before.pop(kind, None)
            self._told.pop(kind, None)
        return built

    def _build(self, kind: VmKind, cached: CachedImage) -> None:
        self._building = kind
        try:
            template = self._context.effect("template", lambda: self._store.build(cached, kind))
        finally:
            self._building = None
        key, limit = template.description.shape.key, self._store.limit
        took = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in template.description.seconds.items())
        log.info("template %s of %s is built: %s", key, kind, took)
        size = self._store.kept[key].size
        if size > limit:
            self._store.remove(key, "alone it is more than all templates may take", wanted=False)
            raise VirtError(
                object=f"template of {kind}",
                value=f"{size >> 20} MiB",
                reason=f"does not fit into {limit >> 20} MiB",
                hint="raise template_cache_mib",
            )
        self._store.make_room()

    def _could_not(self, kind: VmKind, error: WnodesError) -> None:
        pause = self._put_off(kind)
        level = logging.DEBUG if self._told.get(kind) == str(error) else logging.WARNING
        log.log(level, "%s has no template and boots cold; it is tried again in %g s: %s", kind, pause, error)
        self._told[kind] = str(error)

    def _put_off(self, kind: VmKind) -> float:
        """Build nothing of this kind for a while, longer each time until one is restored; return the seconds."""
        with self._lock:
            times = self._pauses[kind] = self._pauses.get(kind, 0) + 1
            pause = backoff(times, *RETRY_S)
            self._not_before[kind] = self._context.clock.now() + pause
        return pause
