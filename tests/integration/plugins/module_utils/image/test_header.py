# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The corpus of bad images, made by QEMU's own tools: each is refused, and the system calls show what was opened."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[5]
QEMU_IMG = "qemu-img"

#: argv: (path, format) pairs as JSON; prints what is said of each
GATE = """
import json, sys
import tests.conftest
from wnodes.image.header import check_header
from wnodes.model.errors import ImageError
said = []
for path, format in json.loads(sys.argv[1]):
    try:
        said.append(str(check_header(path, format)))
    except ImageError as error:
        said.append("refused: " + error.reason)
print(json.dumps(said))
"""

#: name → arguments of ``qemu-img create``; ``@`` is the folder. The secret is what a reader would be led to.
REFUSED = {
    "backing-relative": "-f qcow2 -b secret -F raw",
    "backing-absolute": "-f qcow2 -b @/secret -F raw",
    "backing-json": "-f qcow2 -u -F raw "
                    '-b json:{"driver":"raw","file":{"driver":"file","filename":"@/secret"}}',
    "backing-nbd": "-f qcow2 -u -F raw -b nbd://127.0.0.1:10809/secret",
    "backing-v2": "-f qcow2 -o compat=0.10 -b @/secret -F raw",
    "data-file": "-f qcow2 -o data_file=@/secret-data,data_file_raw=on",
    "data-file-relative": "-f qcow2 -o data_file=secret-data2",
    "encrypted-aes": "-f qcow2 --object secret,id=s,data=x -o encrypt.format=aes,encrypt.key-secret=s",
    "vmdk-flat": "-f vmdk -o subformat=monolithicFlat",
    "vmdk-sparse": "-f vmdk -o subformat=monolithicSparse",
    "vmdk-split": "-f vmdk -o subformat=twoGbMaxExtentSparse",
    "vmdk-stream": "-f vmdk -o subformat=streamOptimized",
    "vmdk-backing": "-f vmdk -b @/base.vmdk -F vmdk",
    "qed": "-f qed",
    "qed-backing": "-f qed -b @/secret -F raw",
    "vdi": "-f vdi",
    "vhd-dynamic": "-f vpc",
    "vhd-fixed": "-f vpc -o subformat=fixed",
    "vhdx": "-f vhdx",
    "parallels": "-f parallels",
    "qcow1": "-f qcow",
    "qcow1-backing": "-f qcow -b @/secret -F raw",
}  # fmt: skip

TAKEN = {
    "plain": "-f qcow2",
    "v2": "-f qcow2 -o compat=0.10",
    "extended-l2": "-f qcow2 -o extended_l2=on,cluster_size=128k",
    "smallest-clusters": "-f qcow2 -o cluster_size=512",
    "biggest-clusters": "-f qcow2 -o cluster_size=2M",
    "zstd": "-f qcow2 -o compression_type=zstd",
    "preallocated": "-f qcow2 -o preallocation=metadata",
    "lazy-refcounts": "-f qcow2 -o lazy_refcounts=on",
}

#: name → offset, format and value of a field in the header of a plain qcow2, or the bytes that are left of it
BROKEN: dict[str, tuple[int, str, int | bytes] | int] = {
    "cut-in-header": 90,
    "cut-before-tables": 70_000,
    "cluster-bits-0": (20, ">I", 0),
    "cluster-bits-63": (20, ">I", 63),
    "encrypted-luks": (32, ">I", 2),  # qemu-img can't always make one: "Unable to get accurate CPU usage"
    "luks": (0, ">6s", b"LUKS\xba\xbe"),
    "dirty": (72, ">Q", 1),
    "corrupt": (72, ">Q", 2),
    "data-file-flag-only": (72, ">Q", 4),
    "unknown-feature": (72, ">Q", 1 << 63),
    "version-9": (4, ">I", 9),
    "l1-beyond-file": (40, ">Q", 1 << 40),
    "l1-huge": (36, ">I", 0x7FFFFFFF),
    "l1-small": (24, ">Q", 1 << 60),
    "backing-offset-only": (8, ">Q", 1 << 50),
}


def qemu_img(folder: Path, *argv: str) -> None:
    subprocess.run([QEMU_IMG, *(word.replace("@", str(folder)) for word in argv)], cwd=folder, check=True, timeout=60)


def make(folder: Path) -> list[tuple[str, str]]:
    """Write the corpus; return (path, label) of all that must be refused."""
    (folder / "secret").write_bytes(b"secret".ljust(1 << 20, b"."))
    qemu_img(folder, "create", "-q", "-f", "vmdk", "base.vmdk", "1M")
    for name, options in {**REFUSED, **TAKEN}.items():
        qemu_img(folder, "create", "-q", *options.split(), f"@/{name}", "1M")
    for name, change in BROKEN.items():
        content = bytearray((folder / "plain").read_bytes())
        if isinstance(change, int):
            del content[change:]
        else:
            struct.pack_into(change[1], content, change[0], change[2])
        (folder / name).write_bytes(content)
    qemu_img(folder, "create", "-q", "-f", "qcow2", "@/snapshots", "1M")
    qemu_img(folder, "snapshot", "-c", "one", "@/snapshots")
    extent = f'RW 2048 FLAT "{folder / "secret"}" 0\n'
    (folder / "vmdk-text").write_text(f"# Disk DescriptorFile\nversion=1\n{extent}")
    (folder / "vmdk-text-disguised").write_text(f"# holiday pictures\n\nversion=1\n{extent}")
    (folder / "plain.raw").write_bytes(bytes(1 << 20))
    bad = [*REFUSED, *BROKEN, "snapshots", "vmdk-text", "vmdk-text-disguised"]
    return [*((str(folder / name), label) for name in bad for label in ("qcow2", "raw")),
            (str(folder / "plain.raw"), "qcow2"), *((str(folder / name), "raw") for name in TAKEN)]  # fmt: skip


class Judged:
    """What the gate said of each (path, label), and all that its process opened or connected to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bad = make(folder)
        self.good = [*((str(folder / name), "qcow2") for name in TAKEN), (str(folder / "plain.raw"), "raw")]
        both = [*self.bad, *self.good]
        said, self.calls = self._trace(both)
        self.said = dict(zip(both, said))
        _nothing, idle = self._trace([])
        self.opened = {path for call in self.calls for path in re.findall(r'open(?:at)?\(.*?"([^"]*)"', call)}
        self.opened -= {path for call in idle for path in re.findall(r'open(?:at)?\(.*?"([^"]*)"', call)}

    def _trace(self, images: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
        log = self.folder.parent / "calls"
        argv = ["strace", "-f", "-s", "4096", "-e", "trace=open,openat,openat2,connect,execve", "-o", str(log)]
        done = subprocess.run(
            [*argv, sys.executable, "-B", "-c", GATE, json.dumps(images)],
            cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=120,
        )  # fmt: skip
        return json.loads(done.stdout), log.read_text().splitlines()


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    folder = tmp_path_factory.mktemp("gate") / "corpus"
    folder.mkdir()
    return Judged(folder)


def test_all_of_the_corpus_is_refused_under_either_label(judged: Judged) -> None:
    passed = [(os.path.basename(path), label) for path, label in judged.bad
              if not judged.said[path, label].startswith("refused: ")]  # fmt: skip
    assert passed == []


def test_what_qemu_makes_without_a_reference_is_taken(judged: Judged) -> None:
    for path, label in judged.good:
        assert judged.said[path, label] == f"Header(format='{label}', virtual_size={1 << 20})", path


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("backing-relative", "names a backing file"),
        ("backing-json", "names a backing file"),
        ("backing-nbd", "names a backing file"),
        ("data-file", "its data is in another file"),
        ("encrypted-luks", "is encrypted"),
        ("snapshots", "has internal snapshots"),
        ("l1-beyond-file", "L1 table is not in the file"),
        ("unknown-feature", "unknown incompatible feature 63"),
        ("vmdk-text", "is labelled qcow2 but is not"),
    ],
)
def test_the_reason_is_the_real_one(judged: Judged, name: str, reason: str) -> None:
    assert reason in judged.said[str(judged.folder / name), "qcow2"]


def test_nothing_but_the_images_themselves_was_opened(judged: Judged) -> None:
    assert judged.opened == {path for path, _label in judged.said}
    assert not any("secret" in os.path.basename(path) for path in judged.opened)
    assert not any("connect(" in call for call in judged.calls)
    assert sum("execve(" in call for call in judged.calls) == 1


def test_the_corpus_really_leads_tools_astray(judged: Judged) -> None:
    """Else the test above would prove nothing: qemu-img, told the format, opens the secret."""
    log = judged.folder.parent / "qemu"
    for name in ("backing-absolute", "data-file"):
        subprocess.run(
            ["strace", "-f", "-e", "trace=openat", "-o", str(log), QEMU_IMG, "convert", "-f", "qcow2", "-O", "raw",
             str(judged.folder / name), str(judged.folder.parent / "out")],
            check=True, timeout=60,
        )  # fmt: skip
        assert f'"{judged.folder / "secret"}' in log.read_text()
