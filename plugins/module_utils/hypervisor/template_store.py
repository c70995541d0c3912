# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The templates that this node has: found by the kind of VM, thrown away when they are of no use."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Callable, Dict, Optional, Set, Tuple

from ..model.errors import ImageError, UnavailableError
from ..model.image import CachedImage, Image
from ..model.phases import flavour
from ..model.resources import Resources
from ..model.states import VmState
from ..model.vm import Vm
from ..virt.template import StoredTemplate, Template, TemplateDescription, Templates
from .catalogue import Catalogue
from .context import HypervisorContext

log = logging.getLogger(__name__)

_UP = (VmState.STARTING, VmState.PERSONALISING, VmState.READY, VmState.IN_USE)


@dataclass(frozen=True)
class VmKind:
    """What VMs have in common that start from one template: digest of their image, size, accelerator."""

    digest: str
    resources: Resources
    accel: str

    def __str__(self) -> str:
        return f"image={self.digest[:12]} flavour={flavour(self.resources)}"


def kind_of(vm: Vm) -> VmKind:
    """Return what kind of VM this is; its image must be known."""
    assert vm.image is not None
    return VmKind(vm.image.digest, vm.request.resources, vm.accel)


class TemplateStore:
    """The templates of this node. May be used by any thread.

    :param wait: waits between two looks at a template's guest
    :param removed: told when one went that may be wanted again
    """

    def __init__(
        self,
        context: HypervisorContext,
        catalogue: Catalogue,
        wait: Callable[[float], None],
        removed: Callable[[], None],
    ) -> None:
        self._context, self._catalogue, self._removed = context, catalogue, removed
        config = context.config
        #: bytes that templates may take; 0: there shall be none
        self.limit = config.template_cache_mib << 20
        self._templates = Templates(
            os.path.join(config.state_dir, "templates"),
            context.host,
            config.overheads,
            context.clock,
            context.files.run,
            wait,
            config.boot_timeout_s,
            context.stretch,
        )
        #: by key, as of the last look; never changed in place
        self.kept: Dict[str, StoredTemplate] = {}

    @property
    def building(self) -> str:
        """The name of the domain of the build that is under way, empty where none is."""
        return self._templates.building

    @property
    def size(self) -> int:
        """The bytes that all take."""
        return sum(entry.size for entry in self.kept.values())

    @property
    def images(self) -> Set[str]:
        """The digests of the images that they were made of."""
        return {entry.description.shape.image for entry in self.kept.values() if entry.description is not None}

    def clear(self) -> None:
        """Remove what an earlier process left half done."""
        self._templates.clear()

    def find(self, image: CachedImage, kind: VmKind) -> Optional[Template]:
        """Return what VMs of this kind can start from, or None; one that is damaged is removed.

        :raises UnavailableError: nothing is known: the host or the disk does not answer
        """
        try:
            return self._templates.find(image, kind.resources, kind.accel)
        except ImageError as error:
            key = self._templates.shape(image, kind.resources, kind.accel).key
            self.remove(key, str(error), logging.WARNING)
            return None

    def record_use(self, template: Template) -> None:
        """Note that a VM starts from it."""
        self._templates.record_use(template)

    def build(self, image: CachedImage, kind: VmKind) -> Template:
        """Build one; see :meth:`Templates.build`."""
        template = self._templates.build(image, kind.resources, kind.accel)
        self.kept = self._templates.all()
        return template

    def remove(self, key: str, reason: str, level: int = logging.INFO, wanted: bool = True) -> None:
        """Remove one; what runs from it goes on.

        :param wanted: it may be built again
        """
        log.log(level, "template %s is removed: %s", key, reason)
        try:
            self._templates.remove(key)
        except UnavailableError as error:
            log.warning("%s", error)
        self.kept = {other: entry for other, entry in self.kept.items() if other != key}
        if wanted:
            self._removed()

    def keys(self, kind: VmKind) -> Tuple[str, ...]:
        """Return the keys of all that were made for VMs of this kind."""
        guest = self._context.config.overheads.guest(kind.resources)
        wanted = (kind.digest, guest.cpus, guest.memory_mib, guest.scratch_mib, kind.accel)
        found = []
        for key, entry in self._templates.all().items():
            shape = entry.description.shape if entry.description is not None else None
            if shape is not None and wanted == (
                shape.image, shape.cpus, shape.memory_mib, shape.scratch_mib, shape.accel
            ):  # fmt: skip
                found.append(key)
        return tuple(found)

    def prune(self) -> None:
        """Remove those that no VM will ever start from, then those used least recently until all have room."""
        self.kept = self._templates.all()
        vms = [vm for vm in self._context.vms.active() if vm.image is not None]
        # of these there are copies here, so that nothing is fetched
        here = {image.digest: image for image in self._catalogue.ready().values()}
        here.update((vm.image.digest, vm.image) for vm in vms if vm.image is not None and vm.state in _UP)
        useful = self._catalogue.digests | {vm.image.digest for vm in vms if vm.image is not None}
        for key, entry in self.kept.items():
            reason = self._useless(key, entry.description, here, useful)
            if reason:
                self.remove(key, reason)
        self.make_room()

    def _useless(
        self, key: str, description: Optional[TemplateDescription], here: Dict[str, Image], useful: Set[str]
    ) -> str:
        """Return why no VM will ever start from a template, empty where one may."""
        if description is None:
            return "its description can't be read"
        shape = description.shape
        if self._catalogue.known and shape.image not in useful:
            return "its image is retired"
        image = here.get(shape.image)
        if image is None:
            return ""
        memory_mib = self._context.config.overheads.within(shape.memory_mib)
        try:
            cached = self._context.images.ensure(image)
            resources = Resources(shape.cpus, memory_mib, shape.scratch_mib)
            today = self._templates.shape(cached, resources, self._context.accel(cached))
        except (ImageError, UnavailableError):
            return ""
        return "" if today.key == key else "it was made on another QEMU, libvirt or processor, or of other settings"

    def make_room(self) -> None:
        """Remove those used least recently until the others have room."""
        while True:
            kept = self.kept
            if sum(entry.size for entry in kept.values()) <= self.limit:
                return
            oldest = min(kept, key=lambda key: kept[key].used)
            # not wanted: what is configured but has no room would push out the others again and again
            self.remove(oldest, f"templates take more than {self.limit >> 20} MiB", wanted=False)
