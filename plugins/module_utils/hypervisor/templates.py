# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The templates of this node: found for VMs, built while nobody waits, thrown away when they are of no use."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from dataclasses import dataclass
from typing import Dict, Optional, Set, Tuple

from ..model.errors import ImageError, UnavailableError, VirtError, WnodesError
from ..model.image import CachedImage, Image
from ..model.phases import flavour
from ..model.resources import Resources
from ..model.states import VmState
from ..model.vm import Vm
from ..virt.template import Description, Kept, Template, Templates
from .api import TemplateStatus
from .catalogue import Catalogue
from .config import TemplateFlavour
from .node import free_mib
from .parts import Parts

log = logging.getLogger(__name__)

#: the step of the upkeep that builds and throws away
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
_UP = (*_COMING_UP, VmState.READY, VmState.IN_USE)


class Stopped(Exception):
    """The service ends: nobody waits for the build any more."""


@dataclass(frozen=True)
class Kind:
    """What VMs have in common that start from one template: digest of their image, size, accelerator."""

    digest: str
    resources: Resources
    accel: str

    def __str__(self) -> str:
        return f"image={self.digest[:12]} flavour={flavour(self.resources)}"


def kind_of(vm: Vm) -> Kind:
    """Return what kind of VM this is; its image must be known."""
    assert vm.image is not None
    return Kind(vm.image.digest, vm.request.resources, vm.accel)


class NodeTemplates:
    """Templates by kind of VM. All but ``step`` returns at once, and may be called from any thread."""

    def __init__(self, parts: Parts, catalogue: Catalogue) -> None:
        self._p, self._catalogue = parts, catalogue
        config = parts.config
        self._limit = config.template_cache_mib << 20
        self._root = os.path.join(config.state_dir, "templates")
        self._templates = Templates(
            self._root,
            parts.host,
            config.overheads,
            parts.clock,
            parts.files.run,
            self._wait,
            config.boot_timeout_s,
        )
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._cleared = False
        self._wanted: Dict[Kind, None] = {}
        self._had: Set[Tuple[TemplateFlavour, str]] = set()
        self._failed: Dict[Kind, int] = {}
        self._pauses: Dict[Kind, int] = {}
        self._not_before: Dict[Kind, float] = {}
        self._told: Dict[Kind, str] = {}
        self._kept: Dict[str, Kept] = {}
        self._building: Optional[Kind] = None

    # For VMs

    def find(self, vm: Vm, image: CachedImage) -> Optional[Template]:
        """Return what ``vm`` can start from, or None.

        :raises UnavailableError: nothing is known: the host or the disk does not answer
        """
        kind = kind_of(vm)
        if not self._limit:
            return None
        try:
            found = self._templates.find(image, kind.resources, kind.accel)
        except ImageError as error:
            self._remove(self._templates.shape(image, kind.resources, kind.accel).key, str(error), logging.WARNING)
            return None
        if found is not None:
            self._templates.record_use(found)
        return found

    def damaged(self, template: Template, error: WnodesError) -> None:
        """Throw away a template whose fault it is that a VM could not start from it."""
        self._remove(template.description.shape.key, str(error), logging.WARNING)

    def failed(self, vm: Vm, template: Optional[Template]) -> None:
        """Note that ``vm`` could not be brought up from its template; the second time in a row it is thrown away."""
        kind = kind_of(vm)
        with self._lock:
            count = self._failed[kind] = self._failed.get(kind, 0) + 1
        if count >= FAILURES:
            self._failed.pop(kind, None)
            self._put_off(kind)
            for key in [template.description.shape.key] if template else self._keys(kind):
                self._remove(key, f"{FAILURES} VMs in a row could not start from it", logging.WARNING)

    def came_up(self, vm: Vm, restored: bool) -> None:
        """Note that ``vm`` is READY: its template works, or one is missing."""
        kind = kind_of(vm)
        with self._lock:
            if restored:
                self._failed.pop(kind, None)
                self._pauses.pop(kind, None)
            else:
                self._wanted.setdefault(kind)
        if not restored and self._limit:
            self._p.care(TEMPLATES)

    # For the upkeep

    @property
    def under_construction(self) -> str:
        """The request id in the domain of the build that is under way, empty where none is."""
        return self._templates.building

    @property
    def images(self) -> Set[str]:
        """The digests of images whose templates are kept, or built."""
        building = self._building
        kept = {entry.description.shape.image for entry in dict(self._kept).values() if entry.description is not None}
        return kept | ({building.digest} if building else set())

    def status(self) -> TemplateStatus:
        """Return what is here."""
        kept, building = dict(self._kept), self._building
        return TemplateStatus(len(kept), sum(entry.size for entry in kept.values()), str(building) if building else "")

    def stop(self) -> None:
        """Let the build that is under way end soon, and without result."""
        self._stopping.set()

    def step(self) -> Optional[float]:
        """Throw away what is of no use, then build one template if nobody would mind."""
        try:
            if not self._cleared:
                self._templates.clear()
                self._cleared = True
            self._prune()
            if not self._limit:
                return None
            self._want_flavours()
            for kind, image in self._buildable():
                if self._try(kind, image):
                    return 0.0
        except Stopped:
            return None
        return LOOK_S

    def _wait(self, seconds: float) -> None:
        if self._stopping.is_set():
            raise Stopped
        self._p.pause(seconds)

    # Throwing away

    def _images(self) -> Dict[str, Image]:
        """Return the images that are here and that VMs run from or may start from, by digest."""
        found = {image.digest: image for image in self._catalogue.ready().values()}
        found.update((vm.image.digest, vm.image) for vm in self._p.vms.active() if vm.image and vm.state in _UP)
        return found

    def _prune(self) -> None:
        self._kept = self._templates.all()
        images = self._images()
        useful = self._catalogue.digests | {vm.image.digest for vm in self._p.vms.active() if vm.image}
        for key, entry in list(self._kept.items()):
            reason = self._useless(key, entry.description, images, useful)
            if reason:
                self._remove(key, reason)
        self._make_room()

    def _useless(self, key: str, description: Optional[Description], images: Dict[str, Image], useful: Set[str]) -> str:
        """Return why no VM will ever start from a template, empty where one may."""
        if not self._limit:
            return "no templates are wanted"
        if description is None:
            return "its description can't be read"
        shape = description.shape
        if self._catalogue.known and shape.image not in useful:
            return "its image is retired"
        image = images.get(shape.image)
        if image is None:
            return ""
        memory_mib = shape.memory_mib - self._p.config.overheads.guest_mib
        try:
            cached = self._p.images.ensure(image)
            resources = Resources(shape.cpus, memory_mib, shape.scratch_mib)
            today = self._templates.shape(cached, resources, self._p.accel(cached))
        except (ImageError, UnavailableError):
            return ""
        return "" if today.key == key else "it was made on another QEMU, libvirt or processor, or of other settings"

    def _make_room(self) -> None:
        while sum(entry.size for entry in self._kept.values()) > self._limit:
            oldest = min(self._kept, key=lambda key: self._kept[key].used)
            self._remove(oldest, f"templates take more than {self._limit >> 20} MiB", forget=False)

    def _keys(self, kind: Kind) -> Tuple[str, ...]:
        memory_mib = self._p.config.overheads.guest(kind.resources).memory_mib
        wanted = (kind.digest, kind.resources.cpus, memory_mib, kind.resources.scratch_mib, kind.accel)
        described = {key: entry.description for key, entry in self._templates.all().items()}
        return tuple(
            key
            for key, found in described.items()
            if found is not None
            and wanted
            == (found.shape.image, found.shape.cpus, found.shape.memory_mib, found.shape.scratch_mib, found.shape.accel)
        )

    def _remove(self, key: str, reason: str, level: int = logging.INFO, forget: bool = True) -> None:
        log.log(level, "template %s is removed: %s", key, reason)
        if forget:
            self._had.clear()  # what is configured is built again
        try:
            self._templates.remove(key)
        except UnavailableError as error:
            log.warning("%s", error)
        self._kept = {other: entry for other, entry in self._kept.items() if other != key}
        self._p.care(TEMPLATES)

    # Building

    def _want_flavours(self) -> None:
        ready = self._catalogue.ready()
        for wish in self._p.config.template_flavours:
            image = ready.get(wish.tag)
            # once: where not all have room, each would push out the one before for ever
            if image is None or (wish, image.digest) in self._had:
                continue
            with contextlib.suppress(ImageError, UnavailableError):
                accel = self._p.accel(self._p.images.ensure(image))
                self._had.add((wish, image.digest))
                with self._lock:
                    self._wanted.setdefault(Kind(image.digest, wish.resources, accel))

    def _buildable(self) -> Tuple[Tuple[Kind, Image], ...]:
        """Return what may be built now, what was wanted first first."""
        images, found = {image.digest: image for image in self._catalogue.ready().values()}, []
        with self._lock:
            if self._catalogue.known:
                self._wanted = {kind: None for kind in self._wanted if kind.digest in self._catalogue.digests}
            for kind in self._wanted:
                image = images.get(kind.digest)
                if image is not None and self._not_before.get(kind, 0.0) <= self._p.clock.now():
                    found.append((kind, image))
        return tuple(found)

    def _is_room(self, kind: Kind) -> bool:
        """Return whether the node has nothing better to do, and enough memory and disk that are really free."""
        if any(vm.state in _COMING_UP for vm in self._p.vms.active()):
            return False
        config = self._p.config
        charge = config.overheads.charge(kind.resources).memory_mib
        if self._p.available_mib() < charge + MARGIN_MIB:
            return False
        return free_mib(config.state_dir) >= charge + config.min_free_mib

    def _try(self, kind: Kind, image: Image) -> bool:
        """Build a template unless there is one or there is no room; return whether one was built."""
        try:
            cached = self._p.images.ensure(image)
            try:
                found = self._templates.find(cached, kind.resources, kind.accel)
            except ImageError as error:
                self._remove(self._templates.shape(cached, kind.resources, kind.accel).key, str(error), logging.WARNING)
                found = None
            built = found is None
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

    def _build(self, kind: Kind, cached: CachedImage) -> None:
        self._building = kind
        try:
            template = self._p.effect("template", lambda: self._templates.build(cached, kind.resources, kind.accel))
        finally:
            self._building = None
        key = template.description.shape.key
        self._kept = self._templates.all()
        took = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in template.description.seconds.items())
        log.info("template %s of %s is built: %s", key, kind, took)
        size = self._kept[key].size
        if size > self._limit:
            self._remove(key, "alone it is more than all templates may take", forget=False)
            raise VirtError(
                object=f"template of {kind}",
                value=f"{size >> 20} MiB",
                reason=f"does not fit into {self._limit >> 20} MiB",
                hint="raise template_cache_mib",
            )
        self._make_room()

    def _could_not(self, kind: Kind, error: WnodesError) -> None:
        pause = self._put_off(kind)
        level = logging.DEBUG if self._told.get(kind) == str(error) else logging.WARNING
        log.log(level, "%s has no template and boots cold; it is tried again in %g s: %s", kind, pause, error)
        self._told[kind] = str(error)

    def _put_off(self, kind: Kind) -> float:
        """Build nothing of this kind for a while, longer each time until one is restored; return the seconds."""
        with self._lock:
            times = self._pauses[kind] = self._pauses.get(kind, 0) + 1
            pause = min(RETRY_S[0] * 2.0 ** min(times - 1, 16), RETRY_S[1])
            self._not_before[kind] = self._p.clock.now() + pause
        return pause
