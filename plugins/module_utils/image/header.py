# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate before anything else reads an image: its header, parsed by us, so that no tool can be led to another file.

Giving QEMU's tools a format is not enough: a qcow2 header may name a backing file or a data file, which they open.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO, Callable, Iterator, Optional, Tuple

from ..model.errors import ImageError

QCOW2_MAGIC = b"QFI\xfb"
#: incompatible features that are harmless: another compression type, extended L2 entries
_EXTENDED_L2 = 1 << 4
_ALLOWED_FEATURES = (1 << 3) | _EXTENDED_L2
_FEATURE_WORDS = {0: "dirty: it was not closed", 1: "corrupt", 2: "its data is in another file"}
_EXTENSION_END = 0
_EXTENSION_DATA_FILE = 0x44415441
#: offset, signature, name: what a raw image must not look like
_FOREIGN: Tuple[Tuple[int, bytes, str], ...] = (
    (0, QCOW2_MAGIC, "qcow2"),
    (0, b"QED\0", "QED"),
    (0, b"KDMV", "VMDK"),
    (0, b"COWD", "VMDK"),
    (0, b"# Disk DescriptorFile", "VMDK"),
    (0, b"vhdxfile", "VHDX"),
    (0, b"conectix", "VHD"),
    (0, b"OOOM", "QCOW"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (0, b"WithoutFreeSpace", "Parallels"),
    (0, b"WithouFreSpacExt", "Parallels"),
    (0, b"Bochs Virtual HD Image", "Bochs"),
    (0, b"#!/bin/sh\n#V2.0 Format\n", "cloop"),
    (64, b"\x7f\x10\xda\xbe", "VDI"),
)
_HEAD = 64 * 1024


@dataclass(frozen=True)
class Header:
    """What a good header says: ``format`` (qcow2 or raw) and the size the guest sees in bytes."""

    format: str
    virtual_size: int


def check_header(path: str, format: str, backing: str = "") -> Header:
    """Return the header of the image at ``path`` if it is a plain, self-contained image of ``format``.

    :param backing: the one file it has to be a layer over, to the letter; empty: none
    :raises ImageError: it is something else, or could lead a reader to another file
    """
    what = f"image {path}"
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            return _check(stream, size, format, what, backing)
    except OSError as error:
        raise ImageError(object=what, reason=f"can't be read: {error.strerror}") from None


def _check(stream: BinaryIO, size: int, format: str, what: str, backing: str) -> Header:
    head = stream.read(_HEAD)
    found = _signature(head)
    if format == "raw":
        if found is None and size >= 512:
            stream.seek(size - 512)
            tail = stream.read(512)
            found = "VHD" if tail.startswith(b"conectix") else "DMG" if tail.startswith(b"koly") else None
        if found is not None:
            raise ImageError(object=what, value=found, reason="is labelled raw but carries another format's signature")
        return Header("raw", size)
    if format != "qcow2":
        raise ImageError(object=what, value=format, reason="format is not one we take", hint="qcow2 or raw")
    if found != "qcow2":
        hint = (
            "convert it on a machine that trusts it" if found else "a raw disk? --format raw (in a recipe format: raw)"
        )
        seen = found or "no known signature"
        raise ImageError(object=what, value=seen, reason="is labelled qcow2 but is not", hint=hint)
    return Header("qcow2", _check_qcow2(head, size, what, backing))


def _check_qcow2(head: bytes, file_size: int, what: str, layer_over: str) -> int:
    def refuse(reason: str, value: object = "", hint: str = "") -> ImageError:
        return ImageError(object=what, value=str(value), reason=reason, hint=hint)

    if len(head) < 104:
        raise refuse("its qcow2 header is cut off", f"{len(head)} bytes")
    version, backing, length, cluster_bits, size, crypt = struct.unpack_from(">IQIIQI", head, 4)
    (snapshots,) = struct.unpack_from(">I", head, 60)
    if version not in (2, 3):
        raise refuse("unknown qcow2 version", version)
    if not 9 <= cluster_bits <= 21:
        raise refuse("impossible qcow2 cluster size", f"2^{cluster_bits}")
    if backing and not layer_over:
        raise refuse("names a backing file", hint="flatten it: qemu-img convert -O qcow2")
    name = os.fsdecode(head[backing : backing + length]) if backing else ""
    if name != layer_over:
        raise refuse(f"must be a layer over {layer_over}", name)
    if crypt:
        raise refuse("is encrypted", f"method {crypt}")
    if snapshots:
        raise refuse("has internal snapshots", snapshots, "flatten it: qemu-img convert -O qcow2")
    features, header_length = _check_features(head, refuse) if version == 3 else (0, 72)
    for kind, data in _extensions(head, header_length, 1 << cluster_bits, refuse):
        if kind == _EXTENSION_DATA_FILE:
            raise refuse("names an external data file", data[:200].decode("utf-8", "replace"))
    _check_tables(head, file_size, 1 << cluster_bits, 16 if features & _EXTENDED_L2 else 8, refuse)
    return int(size)


def _check_tables(head: bytes, file_size: int, cluster: int, l2_entry: int, refuse: Callable[..., ImageError]) -> None:
    """Refuse a disk whose first tables are not in the file or do not span it."""
    (size,) = struct.unpack_from(">Q", head, 24)
    l1_entries, l1_offset, refcount_offset, refcount_clusters = struct.unpack_from(">IQQI", head, 36)
    if l1_entries * (cluster // l2_entry) * cluster < size:
        raise refuse("its qcow2 L1 table is too small for its virtual size", f"{l1_entries} entries for {size} bytes")
    for name, offset, length in (
        ("L1", l1_offset, l1_entries * 8),
        ("refcount", refcount_offset, refcount_clusters * cluster),
    ):
        if offset % cluster or offset + length > file_size:
            raise refuse(f"its qcow2 {name} table is not in the file", f"{length} bytes at {offset} of {file_size}")


def _check_features(head: bytes, refuse: Callable[..., ImageError]) -> Tuple[int, int]:
    """Refuse incompatible features that are not harmless; return the harmless ones and the length of the header."""
    (features,) = struct.unpack_from(">Q", head, 72)
    (header_length,) = struct.unpack_from(">I", head, 100)
    bad = [bit for bit in range(64) if features & ~_ALLOWED_FEATURES & (1 << bit)]
    if bad:
        words = "; ".join(_FEATURE_WORDS.get(bit, f"unknown incompatible feature {bit}") for bit in bad)
        raise refuse(words, f"{features:#x}", "repair or convert it with qemu-img on a machine that trusts it")
    if header_length < 104 or header_length % 8:
        raise refuse("impossible qcow2 header length", header_length)
    return int(features), int(header_length)


def _extensions(
    head: bytes, offset: int, cluster: int, refuse: Callable[..., ImageError]
) -> Iterator[Tuple[int, bytes]]:
    """Yield (type, data) of the header extensions, which lie between the header and the end of the first cluster."""
    limit = min(cluster, len(head))
    while offset + 8 <= limit:
        kind, length = struct.unpack_from(">II", head, offset)
        if kind == _EXTENSION_END:
            return
        offset += 8
        if length > limit - offset:
            raise refuse("its qcow2 header extensions are cut off", f"{length} bytes at {offset}")
        yield kind, head[offset : offset + length]
        offset += (length + 7) // 8 * 8
    if limit < cluster:
        raise refuse("its qcow2 header extensions do not end", f"at {offset}")


def _signature(head: bytes) -> Optional[str]:
    for offset, magic, name in _FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            return name
    # QEMU takes comments and blank lines before this as a VMDK descriptor, whatever they say.
    lines = (line.strip() for line in head.split(b"\n"))
    first = next((line for line in lines if line and not line.startswith(b"#")), b"")
    return "VMDK" if first.startswith(b"version=") else None
