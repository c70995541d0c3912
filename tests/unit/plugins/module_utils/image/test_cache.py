# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache hands out only what it has verified, whatever dies, lies or comes at the same time."""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.image.image_fixture import qcow2
from wnodes.image import cache as cache_module
from wnodes.image.cache import ImageCache
from wnodes.model.clock import Failpoints
from wnodes.model.errors import ImageError, UnavailableError
from wnodes.model.image import Artefact, Image


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def image(tmp_path: Path) -> Image:
    disk = qcow2(1 << 30) + b"\0" * (2 << 20) + b"data"
    (tmp_path / "site").mkdir()
    artefacts = {}
    for name, content in (("disk", disk), ("kernel", b"k"), ("initrd", b"i")):
        (tmp_path / "site" / name).write_bytes(content)
        artefacts[name] = Artefact(str(tmp_path / "site" / name), sha256(content))
    return Image(sha256(disk), "qcow2", 1 << 30, len(disk), **artefacts, root_device="/dev/vda", cmdline="")


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    real = cache_module.copy

    def counted(source: str, target: str) -> str:
        made.append(Path(source).name)
        return real(source, target)

    monkeypatch.setattr(cache_module, "copy", counted)
    return made


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    real = cache_module.sha256

    def counted(path: str) -> str:
        made.append(Path(path).name)
        return real(path)

    monkeypatch.setattr(cache_module, "sha256", counted)
    return made


def visible(root: Path) -> list[str]:
    return sorted(name for name in os.listdir(root) if not name.endswith(".lock"))


def test_an_image_is_copied_whole_and_read_only(tmp_path: Path, image: Image) -> None:
    cached = ImageCache(str(tmp_path / "cache")).ensure(image)
    assert cached.image == image
    for path, artefact in ((cached.disk, image.disk), (cached.kernel, image.kernel), (cached.initrd, image.initrd)):
        assert sha256(Path(path).read_bytes()) == artefact.digest
        assert os.stat(path).st_mode & 0o777 == 0o444
    assert visible(tmp_path / "cache") == [image.digest]


def test_a_file_url_is_a_location_too(tmp_path: Path, image: Image) -> None:
    location = replace(image.kernel, location=f"file://{image.kernel.location}")
    ImageCache(str(tmp_path / "cache")).ensure(replace(image, kernel=location))


def test_the_second_time_nothing_is_read_and_a_new_process_reads_once(
    tmp_path: Path, image: Image, copies: list[str], reads: list[str]
) -> None:
    first = ImageCache(str(tmp_path / "cache"))
    assert first.ensure(image) == first.ensure(image)
    assert (len(copies), reads) == (3, [])
    second = ImageCache(str(tmp_path / "cache"))
    second.ensure(image)
    second.ensure(image)
    assert (len(copies), reads) == (3, ["disk.qcow2", "vmlinuz", "initrd"])


def test_callers_at_the_same_time_wait_for_one_copy(tmp_path: Path, image: Image, copies: list[str]) -> None:
    barrier = threading.Barrier(8, timeout=10)
    caches = [ImageCache(str(tmp_path / "cache")) for _ in range(2)]

    def call(number: int) -> str:
        barrier.wait()
        return caches[number % 2].ensure(image).disk

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(call, range(8)))) == 1
    assert sorted(copies) == ["disk", "initrd", "kernel"]


@pytest.mark.parametrize("file", ["disk", "kernel", "initrd"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_copy_is_fetched_again(tmp_path: Path, image: Image, file: str, harm: str) -> None:
    cache = ImageCache(str(tmp_path / "cache"))
    path = Path(getattr(cache.ensure(image), file))
    content = path.read_bytes()
    if harm == "remove":
        path.unlink()
    else:
        path.chmod(0o644)
        path.write_bytes(content[:-1] + (b"" if harm == "cut" else b"X"))
    cache.ensure(image)
    assert path.read_bytes() == content
    ImageCache(str(tmp_path / "cache")).ensure(image)
    assert visible(tmp_path / "cache") == [image.digest]


def test_a_damaged_source_is_refused_and_nothing_is_kept(tmp_path: Path, image: Image) -> None:
    Path(image.disk.location).write_bytes(qcow2(1 << 30) + b"other")
    cache = ImageCache(str(tmp_path / "cache"))
    with pytest.raises(ImageError, match="damaged"):
        cache.ensure(image)
    assert visible(tmp_path / "cache") == []


def test_a_source_that_is_away_may_come_back(tmp_path: Path, image: Image) -> None:
    site, away = tmp_path / "site", tmp_path / "away"
    site.rename(away)
    cache = ImageCache(str(tmp_path / "cache"))
    with pytest.raises(UnavailableError) as caught:
        cache.ensure(image)
    assert caught.value.transient
    away.rename(site)
    cache.ensure(image)


def test_the_gate_holds_whatever_the_digest_says(tmp_path: Path, image: Image) -> None:
    content = qcow2(1 << 30, backing=512)
    Path(image.disk.location).write_bytes(content)
    bad = replace(image, digest=sha256(content), disk=replace(image.disk, digest=sha256(content)))
    with pytest.raises(ImageError, match="backing file"):
        ImageCache(str(tmp_path / "cache")).ensure(bad)
    assert visible(tmp_path / "cache") == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"virtual_size": 5}, "virtual size"),
        ({"digest": "../../etc"}, "not a sha256"),
        ({"kernel": Artefact("relative", "0" * 64)}, "neither an absolute path"),
        ({"kernel": Artefact("http://host/k", "0" * 64)}, "neither an absolute path"),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, image: Image, changes: dict[str, object], said: str) -> None:
    with pytest.raises(ImageError, match=said):
        ImageCache(str(tmp_path / "cache")).ensure(replace(image, **changes))  # type: ignore[arg-type]


class Killed(BaseException):
    """Stands for SIGKILL: no ``except Exception`` sees it."""


@pytest.mark.parametrize("place", ["cache.copied", "cache.before_rename"])
def test_a_copy_that_was_cut_short_is_not_used_and_cleaned_up(
    tmp_path: Path, image: Image, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = Failpoints()

    def die() -> None:
        raise Killed

    points.set(place, die)
    dying = ImageCache(str(tmp_path / "cache"), points)
    with monkeypatch.context() as patch:
        patch.setattr(cache_module.shutil, "rmtree", lambda *_args, **_more: None)  # the dead clean nothing up
        with pytest.raises(Killed):
            dying.ensure(image)
    assert image.digest not in visible(tmp_path / "cache")
    assert len(visible(tmp_path / "cache")) == 1
    ImageCache(str(tmp_path / "cache")).ensure(image)
    assert visible(tmp_path / "cache") == [image.digest]
