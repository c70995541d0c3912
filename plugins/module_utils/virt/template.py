# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates: disk and memory of a guest that has booted and settled, for any number of VMs to start from.

``<root>/<key>/`` holds ``disk.qcow2`` (an overlay over the image), ``memory.save``, ``scratch.raw`` where its VMs have
a scratch disk, and ``template.json``, whose time is that of the last use. The key stands for all that the memory
depends on: a template of another image, size, QEMU or processor is never found under it. A folder of this name is
whole: it was synced before it was renamed.

Before the guest settles it runs the image's ``/usr/libexec/wnodes/warm-up``, if it has such a program, as root and for
``WARM_UP_S`` at most: what it reads is in the page cache of each VM from then on. It must leave nothing running, and
nothing that may not be the same in all VMs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import threading
import xml.etree.ElementTree as ET
from dataclasses import asdict, dataclass
from typing import Callable, Dict, List, Optional

from ..load import Stretch, stretch
from ..model.clock import Clock
from ..model.codec import decode, encode
from ..model.errors import ConfigError, ImageError, UnavailableError, VirtError
from ..model.image import CachedImage
from ..model.resources import Overheads, Resources
from ..process import run as run_process
from . import savefile
from .base import VmHost
from .disks import Run, make_overlay, make_scratch
from .domain import Domain, to_xml
from .guest import GuestAgent, pause
from .personality import SCRATCH_SCRIPT
from .policy import SCRATCH as SCRATCH_SERIAL
from .policy import HostFacts, VmPaths, domain_uuid, make_template
from .ramstream import make_lean

log = logging.getLogger(__name__)

DISK, MEMORY, SCRATCH, DESCRIPTION = "disk.qcow2", "memory.save", "scratch.raw", "template.json"

#: seconds between two looks at a guest that boots or settles
LOOK_S = 1.0
#: a guest has settled when it has cost less than this part of a processor in so many looks one after the other
QUIET, QUIET_LOOKS = 0.1, 5
#: Seconds after which a guest that does not settle is saved as it is.
SETTLE_S = 120.0
PREPARE_S = 90.0
#: Seconds after which an image's warm-up is ended.
WARM_UP_S = 60
#: what each clone needs at once (drivers of what is plugged in, programs that personalise it) is read from disk here
_PREPARE = f"""
modprobe -a virtio_net virtiofs
for program in date perl ip mount umount mkdir chmod rm sleep; do "$program" --version > /dev/null 2>&1; done
if [ -x /usr/libexec/wnodes/warm-up ]; then
    timeout -k 1 {WARM_UP_S} /usr/libexec/wnodes/warm-up > /dev/null 2>&1 || echo "warm-up: exit code $?" >&2
fi
sync
"""


@dataclass(frozen=True)
class TemplateShape:
    """All that a template depends on.

    :param image: digest
    :param kernel: digest
    :param initrd: digest
    :param memory_mib: the guest's, with its overhead
    :param accel: ``kvm`` or ``qemu``
    :param cpu: of the host
    :param domain: sha256 of the XML that we start it with, but for its name and where its own files are
    """

    image: str
    kernel: str
    initrd: str
    cpus: int
    memory_mib: int
    scratch_mib: int
    accel: str
    qemu: str
    libvirt: str
    cpu: str
    domain: str

    @property
    def key(self) -> str:
        """Return the name of its template: 32 hex digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class FileStamp:
    """By which a file is known again: bytes and time of its last change (nanoseconds since the epoch)."""

    size: int
    mtime_ns: int


@dataclass(frozen=True)
class TemplateDescription:
    """What is written down with a template.

    :param machine: QEMU's versioned name of the machine, e.g. ``pc-q35-7.2``
    :param sums: name → sha256 of each of its files
    :param stamps: path → stamp of its files (by name) and of the image's below its disk
    :param settled: whether the guest had come to rest when it was saved
    :param seconds: what took how long: ``boot``, ``settle``, ``save``
    :param built: when, in seconds since the epoch
    """

    shape: TemplateShape
    machine: str
    sums: Dict[str, str]
    stamps: Dict[str, FileStamp]
    settled: bool
    seconds: Dict[str, float]
    built: float


@dataclass(frozen=True)
class Template:
    """A template that is whole.

    :param folder: absolute path
    """

    folder: str
    description: TemplateDescription

    @property
    def disk(self) -> str:
        return os.path.join(self.folder, DISK)

    @property
    def memory(self) -> str:
        return os.path.join(self.folder, MEMORY)

    @property
    def scratch(self) -> str:
        return os.path.join(self.folder, SCRATCH)


@dataclass(frozen=True)
class StoredTemplate:
    """A template as it stands on the disk.

    :param description: None where it can't be read
    :param size: bytes that it takes
    :param used: when it was used last, in seconds since the epoch
    """

    description: Optional[TemplateDescription]
    size: int
    used: float


class Templates:
    """The templates of a host.

    :ivar building: name of the domain of the build that is under way, empty where none is
    :param root: folder, made where it is missing
    :param wait: waits the given seconds between two looks
    :param stretch: tells how busy the host is: limits are those of a free one
    """

    def __init__(
        self,
        root: str,
        host: VmHost,
        overheads: Overheads,
        clock: Clock,
        run: Run = run_process,
        wait: Callable[[float], None] = pause,
        boot_timeout_s: float = 300.0,
        stretch: Stretch = stretch,
    ) -> None:
        self._root, self._host, self._overheads, self._clock = root, host, overheads, clock
        self._run, self._wait, self._boot_timeout_s, self._stretch = run, wait, boot_timeout_s, stretch
        # one guest that boots for nobody is enough work for a node that runs jobs
        self._one_build, self._removing = threading.Lock(), threading.Lock()
        self.building = ""
        #: files whose content this process has read, and what they looked like then
        self._seen: Dict[str, FileStamp] = {}

    def shape(self, image: CachedImage, resources: Resources, accel: str) -> TemplateShape:
        """Return what VMs of an image and a size depend on, on this host as it is now.

        :raises UnavailableError: the host does not answer
        """
        bare = self._domain("template", image, resources, accel, "/")
        versions, source = self._host.versions(), image.image
        return TemplateShape(
            image=source.digest,
            kernel=source.kernel.digest,
            initrd=source.initrd.digest,
            cpus=bare.vcpus,
            memory_mib=bare.memory_mib,
            scratch_mib=resources.scratch_mib,
            accel=accel,
            qemu=versions.qemu,
            libvirt=versions.libvirt,
            cpu=versions.cpu,
            domain=hashlib.sha256(to_xml(bare).encode()).hexdigest(),
        )

    def find(self, image: CachedImage, resources: Resources, accel: str) -> Optional[Template]:
        """Return the template for VMs of an image and a size, verified; None where there is none.

        All of it is read once in the life of a process, and again when a file does not look as it did.

        :raises ImageError: it is damaged, or is not what its name says: remove it
        :raises UnavailableError: the host does not answer, or the disk can't be read
        """
        shape = self.shape(image, resources, accel)
        folder = os.path.join(self._root, shape.key)
        try:
            if not os.path.isdir(folder):
                return None
            return self._verified(folder, shape)
        except OSError as error:
            raise UnavailableError(object=f"template {shape.key}", value=folder, reason=str(error)) from error

    def build(self, image: CachedImage, resources: Resources, accel: str) -> Template:
        """Return the template, made first where there is none. Takes as long as a boot and some ten seconds.

        :raises ImageError: there is one, and it is damaged
        :raises VirtError: the guest did not come up, or could not be saved
        :raises UnavailableError: the host does not answer, or the disk can't be written
        """
        with self._one_build:
            found = self.find(image, resources, accel)
            if found is not None:
                return found
            shape = self.shape(image, resources, accel)
            partial = os.path.join(self._root, f".{shape.key}.partial")
            domain = self._domain(f"template.{shape.key}", image, resources, accel, partial)
            try:
                self.building = domain.name
                self._host.destroy(domain.uuid)  # of a build that was killed
                shutil.rmtree(partial, ignore_errors=True)
                self._fill(partial, domain, shape)
                folder = os.path.join(self._root, shape.key)
                os.rename(partial, folder)
                _sync(self._root)
                return self._verified(folder, shape)
            except OSError as error:
                raise UnavailableError(object=f"template {shape.key}", value=self._root, reason=str(error)) from error
            finally:
                if os.path.isdir(partial):
                    self._host.destroy(domain.uuid)
                    shutil.rmtree(partial, ignore_errors=True)
                self.building = ""

    def clear(self) -> None:
        """Remove what builds and removals left that were killed, running domains too. None may be under way.

        :raises UnavailableError: the host does not answer
        """
        for name in self._names():
            if name.startswith("."):
                key, _dot, kind = name[1:].rpartition(".")
                if kind == "partial":
                    self._host.destroy(domain_uuid(f"template.{key}"))
                shutil.rmtree(os.path.join(self._root, name), ignore_errors=True)

    def all(self) -> Dict[str, StoredTemplate]:
        """Return each template by its key."""
        found: Dict[str, StoredTemplate] = {}
        for name in self._names():
            folder = os.path.join(self._root, name)
            if name.startswith(".") or not os.path.isdir(folder):
                continue
            with contextlib.suppress(OSError):  # removed meanwhile
                description, size, used = None, _size(folder), os.stat(folder).st_mtime
                with contextlib.suppress(ImageError, OSError):
                    description, used = _read(folder), os.stat(os.path.join(folder, DESCRIPTION)).st_mtime
                found[name] = StoredTemplate(description, size, used)
        return found

    def record_use(self, template: Template) -> None:
        """Note that a template is used now."""
        now = self._clock.now()
        with contextlib.suppress(OSError):  # it may be removed meanwhile
            os.utime(os.path.join(template.folder, DESCRIPTION), (now, now))

    def _names(self) -> List[str]:
        try:
            return sorted(os.listdir(self._root))
        except FileNotFoundError:
            return []

    def remove(self, key: str) -> int:
        """Remove a template and return the bytes this freed (0: there was none). VMs that run from it go on.

        :raises UnavailableError: it can't be removed now
        """
        folder, gone = os.path.join(self._root, key), os.path.join(self._root, f".{key}.gone")
        try:
            with self._removing:
                shutil.rmtree(gone, ignore_errors=True)
                if not os.path.isdir(folder):
                    return 0
                os.rename(folder, gone)  # at once: what is half removed must not look whole
                size = _size(gone)
                shutil.rmtree(gone)
                return size
        except OSError as error:
            raise UnavailableError(object=f"template {key}", value=folder, reason=str(error)) from error

    def _domain(self, name: str, image: CachedImage, resources: Resources, accel: str, folder: str) -> Domain:
        files = VmPaths(
            overlay=os.path.join(folder, DISK),
            scratch=os.path.join(folder, SCRATCH) if resources.scratch_mib else "",
            console=os.path.join(folder, "console.log"),
            channel=os.path.join(folder, "channel.sock"),
        )
        return make_template(name, resources, image, files, HostFacts(accel, "", self._overheads))

    def _fill(self, folder: str, domain: Domain, shape: TemplateShape) -> None:
        # QEMU, which is not root, has to get through; others can't look
        os.makedirs(self._root, mode=0o711, exist_ok=True)
        os.mkdir(folder)
        os.chmod(folder, 0o711)  # noqa: S103 - the lint minds any bit for others
        root, *others = domain.disks
        make_overlay(self._run, root.backing[0], root.path)
        for disk in others:
            make_scratch(self._run, disk.path, shape.scratch_mib)
        clock = self._clock
        times = [clock.now()]
        self._host.start(domain)
        guest = GuestAgent(self._host, domain.uuid, self._wait, self._stretch)
        self._boot(guest, domain)
        mount = f"{SCRATCH_SCRIPT}mount_scratch {SCRATCH_SERIAL}\n" if shape.scratch_mib else ""
        said = guest.run(mount + _PREPARE, PREPARE_S).stderr.strip()
        if said:
            log.warning("template of image %s: %s", shape.image[:12], said[-500:])
        times.append(clock.now())
        settled = self._settle(domain.uuid)
        times.append(clock.now())
        memory = os.path.join(folder, MEMORY)
        self._host.save(domain.uuid, memory)
        _drop_zero_pages(memory)
        times.append(clock.now())
        seconds = {name: after - before for name, before, after in zip(("boot", "settle", "save"), times, times[1:])}
        self._describe(folder, domain, shape, settled, seconds)

    def _boot(self, guest: GuestAgent, domain: Domain) -> None:
        begun = self._clock.now()
        while True:
            try:
                guest.ping()
                return
            except VirtError as error:
                if self._host.find(domain.uuid) is None:
                    raise VirtError(object=domain.name, reason="its domain ended while it booted") from None
                limit_s = self._boot_timeout_s * self._stretch()
                if self._clock.now() - begun > limit_s:
                    raise VirtError(
                        object=domain.name, reason=f"did not boot within {limit_s:.3g} s: {error.reason}"
                    ) from None
            self._wait(LOOK_S)

    def _settle(self, uuid: str) -> bool:
        """Wait until the guest has nothing left to do; return whether it came to that."""
        begun = self._clock.now()
        then, spent, quiet = begun, self._host.cpu_seconds(uuid), 0
        while quiet < QUIET_LOOKS:
            self._wait(LOOK_S)
            before, then = then, self._clock.now()
            earlier, spent = spent, self._host.cpu_seconds(uuid)
            # of what it wants it gets so much less on a busy host
            busy = self._stretch()
            quiet = quiet + 1 if (spent - earlier) * busy < QUIET * (then - before) else 0
            if then - begun > SETTLE_S * busy:
                log.warning("template domain %s is not quiet after %.3g s and is saved as it is", uuid, SETTLE_S * busy)
                return False
        return True

    def _describe(
        self, folder: str, domain: Domain, shape: TemplateShape, settled: bool, seconds: Dict[str, float]
    ) -> None:
        for left in ("console.log", "channel.sock"):
            if os.path.exists(os.path.join(folder, left)):
                os.unlink(os.path.join(folder, left))
        names = sorted(os.listdir(folder))
        for name in names:
            # a guest's memory is nobody's business but root's; QEMU, which is not root, reads the disk
            os.chmod(os.path.join(folder, name), 0o444 if name == DISK else 0o400)
            _sync(os.path.join(folder, name))
        below = [path for path, _format in domain.disks[0].backing]
        machine = _machine(os.path.join(folder, MEMORY))
        sums = {name: _sha256(os.path.join(folder, name)) for name in names}
        stamps = {path: _stamp(os.path.join(folder, path)) for path in [*names, *below]}
        description = TemplateDescription(shape, machine, sums, stamps, settled, seconds, self._clock.now())
        path = os.path.join(folder, DESCRIPTION)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(encode(description), file, indent=1)
        os.chmod(path, 0o444)
        os.utime(path, (description.built, description.built))
        _sync(path)
        _sync(folder)

    def _verified(self, folder: str, shape: TemplateShape) -> Template:
        description = _read(folder)
        if description.shape != shape:
            raise _bad(folder, "describes another template than its name stands for")
        for path, wanted in description.stamps.items():
            path = os.path.join(folder, path)
            try:
                found = _stamp(path)
            except FileNotFoundError:
                raise _bad(folder, f"{path} is missing") from None
            if found != wanted:
                raise _bad(folder, f"{path} has changed since it was built: {found.size} bytes, not {wanted.size}?")
        if set(description.sums) - set(description.stamps) or not {DISK, MEMORY} <= set(description.sums):
            raise _bad(folder, "describes no disk or no memory")
        for name, digest in description.sums.items():
            path = os.path.join(folder, name)
            if self._seen.get(path) != description.stamps[name]:
                if _sha256(path) != digest:
                    raise _bad(folder, f"{name} is not what was written")
                self._seen[path] = description.stamps[name]
        if _machine(os.path.join(folder, MEMORY)) != description.machine:
            raise _bad(folder, f"was not saved of a {description.machine}")
        return Template(folder, description)


def _bad(folder: str, reason: str) -> ImageError:
    return ImageError(object=f"template {os.path.basename(folder)}", reason=reason, hint="remove it, it is built anew")


def _read(folder: str) -> TemplateDescription:
    try:
        with open(os.path.join(folder, DESCRIPTION), encoding="utf-8") as file:
            return decode(TemplateDescription, json.load(file), DESCRIPTION)
    except FileNotFoundError:
        raise _bad(folder, "has no description") from None
    except (ValueError, ConfigError) as error:
        raise _bad(folder, f"its description can't be read: {error}") from None


def _machine(memory: str) -> str:
    found = ET.fromstring(savefile.read(memory).xml).find("os/type")  # noqa: S314 - libvirt wrote it
    return "" if found is None else found.get("machine", "")


def _drop_zero_pages(memory: str) -> None:
    begins = savefile.read(memory).memory_at
    try:
        dropped = make_lean(memory, begins)
    except ImageError as error:
        # it restores all the same, only slower, and into more of the host's memory
        log.warning("zero pages stay in %s: %s", memory, error.reason)
    else:
        log.info("%d zero pages left out of %s", dropped, memory)


def _stamp(path: str) -> FileStamp:
    found = os.stat(path)
    return FileStamp(found.st_size, found.st_mtime_ns)


def _size(folder: str) -> int:
    return sum(entry.stat().st_blocks * 512 for entry in os.scandir(folder))


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            piece = file.read(1 << 20)
            if not piece:
                return digest.hexdigest()
            digest.update(piece)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
