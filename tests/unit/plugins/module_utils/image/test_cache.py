# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache hands out only what it has verified, whatever dies, lies or comes at the same time."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.module_utils.image.image_fixture import qcow2
from wnodes.image import cache as cache_module
from wnodes.image.cache import ImageCache
from wnodes.model.clock import Failpoints, FakeClock
from wnodes.model.errors import ImageError, NotFoundError, StateError, UnavailableError
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
    real = cache_module.fetch

    def counted(location: str, target: str, digest: str, **more: Any) -> None:
        made.append(Path(location).name)
        real(location, target, digest, **more)

    monkeypatch.setattr(cache_module, "fetch", counted)
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
    assert (len(copies), reads) == (3, ["vmlinuz", "initrd", "disk.qcow2"])


def test_callers_at_the_same_time_wait_for_one_copy(tmp_path: Path, image: Image, copies: list[str]) -> None:
    barrier = threading.Barrier(20, timeout=10)
    caches = [ImageCache(str(tmp_path / "cache")) for _ in range(2)]

    def call(number: int) -> str:
        barrier.wait()
        return caches[number % 2].ensure(image).disk

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(call, range(20)))) == 1
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
        ({"kernel": Artefact("ftp://host/k", "0" * 64)}, "neither an absolute path"),
        ({"disk": Artefact("/disk", "0" * 64)}, "not that of its disk"),
        ({"size": 100}, "longer than the 100 bytes"),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, image: Image, changes: dict[str, object], said: str) -> None:
    with pytest.raises(ImageError, match=said):
        ImageCache(str(tmp_path / "cache")).ensure(replace(image, **changes))  # type: ignore[arg-type]


class Killed(BaseException):
    """Stands for SIGKILL: no ``except Exception`` sees it."""


@pytest.mark.parametrize(("place", "fetched"), [("cache.copied", ["initrd", "disk"]), ("cache.before_rename", [])])
def test_a_fetch_that_was_cut_short_is_not_used_and_gone_on_with(
    tmp_path: Path, image: Image, copies: list[str], place: str, fetched: list[str]
) -> None:
    points = Failpoints()

    def die() -> None:
        raise Killed

    points.set(place, die)
    with pytest.raises(Killed):
        ImageCache(str(tmp_path / "cache"), points).ensure(image)
    assert visible(tmp_path / "cache") == [f".{image.digest}.partial"]
    copies.clear()
    ImageCache(str(tmp_path / "cache")).ensure(image)
    assert copies == fetched
    assert visible(tmp_path / "cache") == [image.digest]


def test_what_was_fetched_before_is_checked_again_before_it_is_used(tmp_path: Path, image: Image) -> None:
    partial = tmp_path / "cache" / f".{image.digest}.partial"
    partial.mkdir(parents=True)
    (partial / "vmlinuz").write_bytes(b"evil")
    (partial / ".wnodes-left").write_bytes(b"by a dead one")
    cached = ImageCache(str(tmp_path / "cache")).ensure(image)
    assert Path(cached.kernel).read_bytes() == b"k"
    assert sorted(os.listdir(Path(cached.disk).parent)) == ["SHA256SUMS", "disk.qcow2", "initrd", "vmlinuz"]


def test_a_scrub_finds_a_byte_that_size_and_time_hide_and_the_next_use_repairs_it(tmp_path: Path, image: Image) -> None:
    cache = ImageCache(str(tmp_path / "cache"))
    path = Path(cache.ensure(image).disk)
    assert cache.verify(image.digest)
    before, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + b"X")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not cache.verify(image.digest)
    assert cache.scrub() == (image.digest,)
    cache.ensure(image)
    assert path.read_bytes() == content
    assert cache.scrub() == ()
    assert cache.verify(image.digest)


def test_a_scrub_of_what_is_not_here_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        ImageCache(str(tmp_path / "cache")).verify("0" * 64)


class Site:
    """Images of about a MiB, a cache with room for two, and a clock that each use moves on."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.in_use, self.folder = FakeClock(), set[str](), folder
        self.cache = ImageCache(str(folder / "cache"), limit_mib=3, in_use=lambda: self.in_use, clock=self.clock)
        (folder / "kernel").write_bytes(b"k")
        self.boot = Artefact(str(folder / "kernel"), sha256(b"k"))
        self.images = {name: self.image(name, 5 << 18) for name in "abcd"}

    def image(self, name: str, size: int) -> Image:
        content = qcow2(1 << 30).ljust(size, name.encode())
        path = self.folder / name
        path.write_bytes(content)
        disk = Artefact(str(path), sha256(content))
        return Image(disk.digest, "qcow2", 1 << 30, size, disk, self.boot, self.boot, "/dev/vda", "")

    def use(self, *names: str) -> None:
        for name in names:
            self.clock.advance(100)
            self.cache.ensure(self.images[name])

    def here(self) -> str:
        """Names of the images that are here, the last used first."""
        names = {image.digest: name for name, image in self.images.items()}
        return "".join(names[entry.digest] for entry in self.cache.contents())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_room_is_made_by_what_was_used_least_recently(site: Site) -> None:
    site.use("a", "b", "a", "c")
    assert site.here() == "ca"
    assert visible(site.folder / "cache") == sorted(site.images[name].digest for name in "ac")


def test_what_is_in_use_stays(site: Site) -> None:
    site.use("a", "b")
    site.in_use = {site.images["a"].digest}
    site.use("c")
    assert site.here() == "ca"
    assert [entry.in_use for entry in site.cache.contents()] == [False, True]


def test_an_image_that_comes_into_use_while_room_is_made_stays(site: Site) -> None:
    site.use("a", "b")
    answers = iter([set(), {site.images["a"].digest}])
    cache = ImageCache(
        str(site.folder / "cache"),
        limit_mib=3,
        in_use=lambda: next(answers, {site.images["a"].digest}),
        clock=site.clock,
    )
    cache.ensure(site.images["c"])
    assert site.here() == "ca"


def test_an_image_that_does_not_fit_pushes_nothing_out_and_says_what_is_in_the_way(site: Site) -> None:
    site.use("a", "b")
    site.in_use = {site.images["a"].digest}
    with pytest.raises(UnavailableError) as caught:
        site.cache.ensure(site.image("e", (2 << 20) + 1))
    assert f"cache of 3 MiB; in use: {site.images['a'].digest} (1 MiB)" in caught.value.reason
    assert site.here() == "ba"


def test_a_fetch_under_way_has_its_room(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real = cache_module.fetch

    def nested(location: str, target: str, digest: str, **more: Any) -> None:
        if location.endswith("/a"):
            monkeypatch.setattr(cache_module, "fetch", real)
            with pytest.raises(UnavailableError, match="does not fit"):
                site.cache.ensure(site.image("e", (2 << 20) + 1))
        real(location, target, digest, **more)

    monkeypatch.setattr(cache_module, "fetch", nested)
    site.use("a")
    assert site.here() == "a"


def test_use_is_recorded_at_most_once_a_minute(site: Site) -> None:
    site.use("a")
    first = site.cache.contents()[0].used
    site.clock.advance(50)
    site.cache.ensure(site.images["a"])
    assert site.cache.contents()[0].used == first
    site.clock.advance(50)
    site.cache.ensure(site.images["a"])
    assert site.cache.contents()[0].used == first + 100


def test_evicting_frees_the_image_unless_it_is_in_use(site: Site) -> None:
    site.use("a")
    digest = site.images["a"].digest
    site.in_use = {digest}
    with pytest.raises(StateError, match="in use"):
        site.cache.evict(digest)
    site.in_use = set()
    assert site.cache.evict(digest) >= 1 << 20
    assert site.cache.evict(digest) == 0
    assert visible(site.folder / "cache") == []


def test_garbage_is_all_but_what_is_kept_or_used_and_what_the_dead_left(site: Site) -> None:
    site.use("a", "b")
    root = site.folder / "cache"
    for name in (f".{'0' * 64}.partial", ".trash-x"):
        (root / name).mkdir()
        (root / name / "file").write_bytes(b"x" * 9000)
    site.in_use = {site.images["a"].digest}
    assert site.cache.gc([image.digest for image in site.images.values()] + ["0" * 64]) == ()
    gone = dict(site.cache.gc(()))
    assert sorted(gone) == sorted(["0" * 64, site.images["b"].digest])
    assert gone["0" * 64] >= 9000
    assert visible(root) == [site.images["a"].digest]


def test_a_cache_that_was_never_used_is_empty(tmp_path: Path) -> None:
    cache = ImageCache(str(tmp_path / "cache"))
    assert (cache.contents(), cache.gc(()), cache.evict("0" * 64), cache.progress()) == ((), (), 0, {})


def test_removed_images_are_unlinked_after_the_lock_is_free(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.use("a")
    digest = site.images["a"].digest
    real, seen = shutil.rmtree, []

    def watched(path: str, **more: Any) -> None:
        with open(site.folder / "cache" / f".{digest}.lock") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        seen.append(path)
        real(path, **more)

    monkeypatch.setattr(shutil, "rmtree", watched)
    site.cache.evict(digest)
    assert len(seen) == 1


def test_prewarming_goes_on_after_a_failure_and_lets_no_image_push_out_a_more_important_one(site: Site) -> None:
    missing = replace(site.images["d"], kernel=Artefact("/no/such/file", "0" * 64))
    failed = site.cache.prewarm([site.images["a"], missing, site.images["b"], site.images["c"]], threading.Event())
    assert [digest for digest, _error in failed] == [missing.digest, site.images["c"].digest]
    assert set(site.here()) == {"a", "b"}


def test_prewarming_stops_in_the_middle_of_a_fetch_which_goes_on_later(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, real = threading.Event(), cache_module.fetch

    def stopping(location: str, target: str, digest: str, **more: Any) -> None:
        if location.endswith("/b"):
            stop.set()
        real(location, target, digest, **more)

    monkeypatch.setattr(cache_module, "fetch", stopping)
    failed = site.cache.prewarm([site.images[name] for name in "abc"], stop)
    assert ["was stopped" in str(error) for _digest, error in failed] == [True]
    assert site.here() == "a"
    site.use("b")
    assert site.here() == "ba"


def test_progress_is_told_while_a_disk_is_fetched(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def slow(location: str, target: str, digest: str, *, progress: Any = None, **more: Any) -> None:
        if progress:
            progress(100, None)
            site.clock.advance(2)
            progress(300, 1000)
            seen.append(site.cache.progress())
        real(location, target, digest, progress=progress, **more)

    real = cache_module.fetch
    monkeypatch.setattr(cache_module, "fetch", slow)
    site.use("a")
    assert seen == [{site.images["a"].digest: (300, 1000, 100.0)}]
    assert site.cache.progress() == {}
