# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a domain's XML is: dataclasses to XML, no decisions. Back from libvirt we read only our own metadata."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple, TypeVar, Union

from ..model.errors import ImageError

T = TypeVar("T")

NAMESPACE = "https://wnodes.farm/xmlns/domain/1"
ET.register_namespace("wnodes", NAMESPACE)


@dataclass(frozen=True)
class Metadata:
    """What we write into a domain to know it again when nothing but libvirt is left.

    :param owner: who the VM is for
    :param request: request id
    :param image: digest
    :param name: leased host name
    :param address: leased address
    :param epoch: the lease's fencing number
    """

    owner: str
    request: str
    image: str
    name: str
    address: str
    epoch: int


@dataclass(frozen=True)
class Disk:
    """A virtio disk in a file.

    :param serial: the guest finds the disk by it (``/sys/block/vd?/serial``)
    :param backing: path and format of each immutable file below a qcow2 overlay, uppermost first
    """

    path: str
    format: str
    target: str
    serial: str
    cache: str
    backing: Tuple[Tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Interface:
    """A virtio network card on a bridge; without a bridge it is on QEMU's own user network."""

    mac: str
    bridge: str


@dataclass(frozen=True)
class Channel:
    """A virtio-serial port; ``path`` is the host's Unix socket, empty where libvirt may choose it."""

    name: str
    path: str = ""


@dataclass(frozen=True)
class Filesystem:
    """A folder of the host given to the guest by virtiofs under the name ``tag``."""

    tag: str
    source: str


@dataclass(frozen=True)
class Boot:
    """Direct kernel boot."""

    kernel: str
    initrd: str
    cmdline: str


@dataclass(frozen=True)
class Domain:
    """A whole domain.

    :param accel: libvirt's domain type, ``kvm`` or ``qemu``
    :param tb_cache_mib: bound of TCG's translation cache; 0 leaves it to QEMU
    :param console_log: file that gets what the guest writes to its serial console
    :param root_ports: PCI Express ports in all; what the devices don't use is free for hot-plug
    """

    name: str
    uuid: str
    accel: str
    cpu_mode: str
    vcpus: int
    memory_mib: int
    boot: Boot
    disks: Tuple[Disk, ...]
    interfaces: Tuple[Interface, ...]
    channels: Tuple[Channel, ...]
    filesystems: Tuple[Filesystem, ...]
    console_log: str
    rng: str
    tb_cache_mib: int
    root_ports: int
    metadata: Metadata


def _child(parent: ET.Element, tag: str, text: Optional[str] = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element


def to_xml(domain: Domain) -> str:
    """Return libvirt's XML of ``domain``, indented."""
    root = ET.Element("domain", {"type": domain.accel})
    _child(root, "name", domain.name)
    _child(root, "uuid", domain.uuid)
    _child(root, "metadata").append(_metadata(domain.metadata))
    _child(root, "memory", str(domain.memory_mib), unit="MiB")
    # virtiofsd works on the guest's memory, so that it has to be shared with it
    backing = _child(root, "memoryBacking")
    _child(backing, "source", type="memfd")
    _child(backing, "access", mode="shared")
    _child(root, "vcpu", str(domain.vcpus), placement="static")
    os = _child(root, "os")
    _child(os, "type", "hvm", arch="x86_64", machine="q35")
    _child(os, "kernel", domain.boot.kernel)
    _child(os, "initrd", domain.boot.initrd)
    _child(os, "cmdline", domain.boot.cmdline)
    features = _child(root, "features")
    _child(features, "acpi")
    if domain.tb_cache_mib:
        _child(_child(features, "tcg"), "tb-cache", str(domain.tb_cache_mib), unit="MiB")
    cpu = _child(root, "cpu", mode=domain.cpu_mode)
    _child(cpu, "topology", sockets="1", dies="1", cores=str(domain.vcpus), threads="1")
    _child(root, "clock", offset="utc")
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        _child(root, event, "destroy")
    _devices(_child(root, "devices"), domain)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _metadata(metadata: Metadata) -> ET.Element:
    vm = ET.Element(
        f"{{{NAMESPACE}}}vm", {"owner": metadata.owner, "request": metadata.request, "image": metadata.image}
    )
    lease = {"name": metadata.name, "address": metadata.address, "epoch": str(metadata.epoch)}
    ET.SubElement(vm, f"{{{NAMESPACE}}}lease", lease)
    return vm


def read_metadata(text: str) -> Optional[Metadata]:
    """Return what our metadata element ``text`` says, or None where it is not one that we wrote."""
    try:
        vm = ET.fromstring(text)  # noqa: S314 - libvirt wrote it, from what we gave it
        # libvirt hands the element back without its prefix when asked for it by namespace
        lease = next(child for child in vm if child.tag.rpartition("}")[2] == "lease")
        return Metadata(
            owner=vm.attrib["owner"],
            request=vm.attrib["request"],
            image=vm.attrib["image"],
            name=lease.attrib["name"],
            address=lease.attrib["address"],
            epoch=int(lease.attrib["epoch"]),
        )
    except (ET.ParseError, KeyError, ValueError, StopIteration):
        return None


def _devices(devices: ET.Element, domain: Domain) -> None:
    for disk in domain.disks:
        _disk(devices, disk)
    _child(devices, "controller", type="usb", model="none")
    _child(devices, "controller", type="pci", model="pcie-root")
    for _port in range(domain.root_ports):
        _child(devices, "controller", type="pci", model="pcie-root-port")
    for device in domain.interfaces + domain.filesystems:
        devices.append(_attachable(device))
    serial = _child(devices, "serial", type="file")
    _child(serial, "source", path=domain.console_log)
    _child(serial, "target", port="0")
    for channel in domain.channels:
        port = _child(devices, "channel", type="unix")
        if channel.path:
            _child(port, "source", mode="bind", path=channel.path)
        _child(port, "target", type="virtio", name=channel.name)
    _child(devices, "memballoon", model="virtio")
    _child(_child(devices, "rng", model="virtio"), "backend", domain.rng, model="random")


def _disk(devices: ET.Element, disk: Disk) -> None:
    element = _child(devices, "disk", type="file", device="disk")
    driver: Dict[str, str] = {"name": "qemu", "type": disk.format, "cache": disk.cache, "discard": "unmap"}
    _child(element, "driver", **driver)
    _disk_source(element, disk)
    _child(element, "target", dev=disk.target, bus="virtio")
    _child(element, "serial", disk.serial)


def _disk_source(element: ET.Element, disk: Disk) -> None:
    _child(element, "source", file=disk.path)
    above = element
    for path, kind in disk.backing:
        above = _child(above, "backingStore", type="file")
        _child(above, "format", type=kind)
        # what is below is shared and immutable: libvirt must not change whose it is
        _child(_child(above, "source", file=path), "seclabel", model="dac", relabel="no")
    if disk.backing:
        _child(above, "backingStore")  # the end: libvirt must not look for more


def _attachable(device: Union[Interface, Filesystem]) -> ET.Element:
    if isinstance(device, Interface):
        nic = ET.Element("interface", type="bridge" if device.bridge else "user")
        _child(nic, "mac", address=device.mac)
        if device.bridge:
            _child(nic, "source", bridge=device.bridge)
        _child(nic, "model", type="virtio")
        _child(nic, "rom", enabled="no")
        return nic
    shared = ET.Element("filesystem", type="mount", accessmode="passthrough")
    _child(shared, "driver", type="virtiofs")
    _child(shared, "source", dir=device.source)
    _child(shared, "target", dir=device.tag)
    return shared


def device_xml(device: Union[Interface, Filesystem]) -> str:
    """Return libvirt's XML of a device that is attached to a running domain."""
    return ET.tostring(_attachable(device), encoding="unicode")


def has_device(xml: str, device: Union[Interface, Filesystem]) -> bool:
    """Return whether the domain that libvirt describes by ``xml`` has a card of this MAC, or this tag."""
    devices = ET.fromstring(xml)  # noqa: S314 - libvirt wrote it
    if isinstance(device, Interface):
        return any(mac.get("address") == device.mac.lower() for mac in devices.iterfind("devices/interface/mac"))
    return any(target.get("dir") == device.tag for target in devices.iterfind("devices/filesystem/target"))


def renamed(xml: str, domain: Domain) -> str:
    """Return ``xml``, which libvirt wrote of a saved domain of the same shape, with what ``domain`` has of its own.

    That is name, UUID, metadata, and where its disks, channels and console are. Cards and file systems are not
    looked at: they are attached afterwards.

    :raises ImageError: the saved domain has other disks or channels
    """
    root = ET.fromstring(xml)  # noqa: S314 - libvirt wrote it
    _required(root, "name").text = domain.name
    _required(root, "uuid").text = domain.uuid
    metadata = _required(root, "metadata")
    metadata.clear()
    metadata.append(_metadata(domain.metadata))
    devices = _required(root, "devices")
    for element, disk in _pairs(devices, "disk", "dev", {disk.target: disk for disk in domain.disks}):
        _drop(element, "source", "backingStore")
        _disk_source(element, disk)
    for element, channel in _pairs(devices, "channel", "name", {port.name: port for port in domain.channels}):
        _drop(element, "source")
        if channel.path:
            _child(element, "source", mode="bind", path=channel.path)
    # libvirt names the serial port a second time, as the console
    for element in devices.findall("serial") + devices.findall("console"):
        _required(element, "source").set("path", domain.console_log)
    return ET.tostring(root, encoding="unicode") + "\n"


def _required(parent: ET.Element, path: str) -> ET.Element:
    found = parent.find(path)
    if found is None:
        raise ImageError(object="saved domain", value=path, reason="is not in its XML")
    return found


def _pairs(devices: ET.Element, tag: str, key: str, wanted: Dict[str, T]) -> List[Tuple[ET.Element, T]]:
    found = {_required(element, "target").get(key, ""): element for element in devices.findall(tag)}
    if set(found) != set(wanted):
        raise ImageError(
            object="saved domain", value=", ".join(sorted(found)), reason=f"each {tag} must be {', '.join(wanted)}"
        )
    return [(element, wanted[name]) for name, element in found.items()]


def _drop(element: ET.Element, *tags: str) -> None:
    for child in [child for child in element if child.tag in tags]:
        element.remove(child)
