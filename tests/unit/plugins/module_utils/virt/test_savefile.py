# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's save files are read, and given to libvirt with another XML in them."""

from __future__ import annotations

import gzip
import os
import struct
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.virt.test_policy import REQUEST, domain
from wnodes.model.errors import ImageError, VirtError
from wnodes.virt.domain import renamed
from wnodes.virt.savefile import MAGIC, UNFINISHED, SaveFile, offered, read

GOLDEN = Path(__file__).parent / "golden"
#: what real libvirts have written before the memory
SAMPLES = sorted(path.name.removesuffix(".save.gz") for path in GOLDEN.glob("*.save.gz"))
MEMORY = bytes(range(256)) * 16384


def saved(folder: Path, head: bytes) -> Path:
    path = folder / "memory.save"
    path.write_bytes(head + MEMORY)
    return path


def sample(version: str) -> bytes:
    return gzip.decompress((GOLDEN / f"{version}.save.gz").read_bytes())


@pytest.mark.parametrize("version", SAMPLES)
def test_golden(version: str, tmp_path: Path) -> None:
    """What a libvirt wrote comes to another domain, and only what is the domain's own has changed."""
    found = read(str(saved(tmp_path, sample(version))))
    assert (found.memory_at, found.running) == (len(sample(version)), 1)
    assert found.cookie.startswith(b"<cookie>")
    xml = renamed(found.xml, domain(REQUEST, "qemu"))
    golden = GOLDEN / f"{version}.renamed.xml"
    if os.environ.get("WNODES_WRITE_GOLDEN"):
        golden.write_text(xml)
    assert xml == golden.read_text()


@pytest.mark.parametrize("version", SAMPLES)
def test_a_new_head_reads_as_the_old_one_but_for_its_xml(version: str, tmp_path: Path) -> None:
    before = read(str(saved(tmp_path, sample(version))))
    after = read(str(saved(tmp_path, before.head("<domain>ü</domain>"))))
    assert after.xml == "<domain>ü</domain>"
    assert (after.cookie, after.running) == (before.cookie, before.running)
    assert Path(after.path).read_bytes()[after.memory_at :] == MEMORY


def head(**changed: object) -> bytes:
    values = {"magic": MAGIC, "version": 2, "length": 5, "running": 1, "compression": 0, "cookie_at": 0, **changed}
    return struct.pack("<16s5I56x", *values.values()) + b"<a/>\0"


def test_a_head_without_a_cookie(tmp_path: Path) -> None:
    found = read(str(saved(tmp_path, head())))
    assert (found.xml, found.cookie, found.memory_at) == ("<a/>", b"", 97)
    assert found.head("<b/>") == head().replace(b"<a/>", b"<b/>")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (head(magic=UNFINISHED), "not written to its end"),
        (head(magic=b"x" * 16), "no save file"),
        (head(version=3), "only version 2"),
        (head(version=2 << 24), "only version 2"),
        (head(compression=1), "must not be compressed"),
        (head(length=0), "can't be"),
        (head(length=1 << 31), "can't be"),
        (head(cookie_at=5), "can't be"),
    ],
)
def test_what_is_not_known_is_refused(head: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=said):
        read(str(saved(tmp_path, head)))


@pytest.mark.parametrize("length", [0, 16, 91, 92, 95])
def test_a_cut_head_is_refused(length: int, tmp_path: Path) -> None:
    (tmp_path / "cut").write_bytes(head()[:length])
    with pytest.raises(ImageError):
        read(str(tmp_path / "cut"))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="can't be read"):
        read(str(tmp_path / "none"))


@given(xml=st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")), cookie=st.booleans())
def test_any_text_comes_back(xml: str, cookie: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    written = SaveFile("", "", b"<cookie/>" if cookie else b"", 1, 0).head(xml or "<a/>")
    found = read(str(saved(tmp_path_factory.mktemp("any"), written)))
    assert (found.xml, found.cookie) == (xml or "<a/>", b"<cookie/>" if cookie else b"")


def test_the_reader_gets_the_new_head_and_the_old_memory(tmp_path: Path) -> None:
    save, fifo = read(str(saved(tmp_path, head()))), tmp_path / "fifo"
    fifo.write_text("left by a restore that was killed")
    with offered(save, "<b/>", str(fifo)):
        got = fifo.read_bytes()
    assert got == save.head("<b/>") + MEMORY
    assert not fifo.exists()


def test_each_reader_begins_at_the_beginning_whatever_the_one_before_has_left(tmp_path: Path) -> None:
    save, fifo = read(str(saved(tmp_path, head()))), tmp_path / "fifo"
    with offered(save, "<b/>", str(fifo)):
        with fifo.open("rb") as first:
            assert first.read(97) == save.head("<b/>")
        assert fifo.read_bytes() == save.head("<b/>") + MEMORY
    assert [path.name for path in tmp_path.iterdir()] == ["memory.save"]


@pytest.mark.parametrize("much", [0, 1, 4096])
def test_a_reader_that_leaves_early_or_never_comes_holds_nobody_up(much: int, tmp_path: Path) -> None:
    save, fifo = read(str(saved(tmp_path, head()))), tmp_path / "fifo"
    with offered(save, "<b/>", str(fifo)):
        if much:
            with fifo.open("rb", buffering=0) as reader:
                reader.read(much)
    assert not fifo.exists()
    assert "restore-feeder" not in [thread.name for thread in threading.enumerate()]


def test_a_fifo_that_cant_be_made_is_told(tmp_path: Path) -> None:
    save = read(str(saved(tmp_path, head())))
    with pytest.raises(VirtError, match="can't be made"), offered(save, "<b/>", str(tmp_path / "no" / "fifo")):
        pass


def test_a_domain_of_another_shape_is_refused() -> None:
    xml = gzip.decompress((GOLDEN / f"{SAMPLES[0]}.save.gz").read_bytes())[92:].partition(b"\0")[0].decode()
    with pytest.raises(ImageError, match="each disk must be"):
        renamed(xml.replace("vda", "vdb"), domain(REQUEST, "qemu"))
    with pytest.raises(ImageError, match="each channel must be"):
        renamed(xml.replace("org.wnodes.0", "org.wnodes.1"), domain(REQUEST, "qemu"))
    with pytest.raises(ImageError, match="devices"):
        renamed(xml.replace("devices>", "x>"), domain(REQUEST, "qemu"))
