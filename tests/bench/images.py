# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of images on one machine; some need the lab's worker image, none its machines."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from unittest import mock

import tests.conftest  # noqa: F401  (gives the name wnodes)
from tests.bench.figures import show
from tests.e2e.lab import LAB, TAG
from tests.integration.repository_fixture import differing, repository_in
from tests.unit.plugins.module_utils.image.image_fixture import qcow2
from wnodes.image import cache as cache_module
from wnodes.image.cache import ImageCache
from wnodes.image.disk import sha256, sync
from wnodes.image.manifest import read_release
from wnodes.image.recipe.engine import Engine
from wnodes.image.recipe.operations import FileOp, Recipe
from wnodes.model.image import Artefact, Image

CACHE = Path(__file__).resolve().parent.parent.parent / ".cache"
WORKER = LAB / "site" / "shared" / "images" / TAG
WAITERS = 20


@contextlib.contextmanager
def published(mib: int) -> Iterator[tuple[Path, Image]]:
    """Give a folder on this disk and an image of ``mib`` MiB of noise in it, in the page cache."""
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="bench-") as name:
        folder = Path(name)
        (folder / "boot").write_bytes(b"boot")
        disk = folder / "disk"
        with disk.open("wb") as stream:
            stream.write(qcow2(1 << 30))
            for _piece in range(mib):
                stream.write(os.urandom(1 << 20))
        sync(str(disk))
        boot = Artefact(str(folder / "boot"), hashlib.sha256(b"boot").hexdigest())
        digest = sha256(str(disk))
        size = disk.stat().st_size
        yield folder, Image(digest, "qcow2", 1 << 30, size, Artefact(str(disk), digest), boot, boot, "/dev/vda", "")


def seconds(work: Callable[[], object]) -> float:
    """Time ``work``, with nothing left to write from before."""
    os.sync()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def plain_copy(source: str, target: Path) -> None:
    """Copy as cp does, durably."""
    shutil.copyfile(source, target)
    sync(str(target))


def busy() -> tuple[float, float]:
    """Return the seconds that all processors, and this process alone, have worked so far."""
    user, nice, system, _idle, _wait, *interrupts = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:8])
    own = os.times()
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK"), own.user + own.system


def image_fetch(runs: int = 9, mib: int = 1024) -> None:
    """Into the cache, verified, against a plain copy of the same file; both durable, in turns.

    Hashing needs a core of its own: ``others`` says how many cores were at work for someone else meanwhile.
    """
    fetched, copied, others = [], [], []
    with published(mib) as (folder, image):
        root, target = folder / "cache", folder / "copy"
        plain_copy(image.disk.location, target)  # the first one pays for fresh memory
        target.unlink()
        for _run in range(runs):
            copied.append(mib / seconds(lambda: plain_copy(image.disk.location, target)))
            target.unlink()
            before = busy()
            took = seconds(lambda: ImageCache(str(root)).ensure(image))
            after = busy()
            fetched.append(mib / took)
            others.append((after[0] - before[0] - after[1] + before[1]) / took)
            shutil.rmtree(root)
    ratios = [mine / plain for mine, plain in zip(fetched, copied)]
    show(
        "image_fetch",
        fetched,
        "MiB/s",
        {"plain copy": round(statistics.median(copied), 3)},
        ratio=round(statistics.median(ratios), 3),
        ratios=[round(ratio, 2) for ratio in ratios],
        others=[round(cores, 2) for cores in others],
    )


def all_at_once(pool: ThreadPoolExecutor, cache: ImageCache, image: Image) -> None:
    """Let all who wait ask for the image, until each has it."""
    list(pool.map(cache.ensure, [image] * WAITERS))


def image_waiters(runs: int = 5, mib: int = 256) -> None:
    """Twenty at the same time want one image that is not here; ``fetches`` are of all runs, three files each."""
    spent, alone = [], []
    with (
        published(mib) as (folder, image),
        mock.patch.object(cache_module, "fetch", wraps=cache_module.fetch) as fetch,
        ThreadPoolExecutor(WAITERS) as pool,
    ):
        root = folder / "cache"
        for _run in range(runs):
            alone.append(seconds(lambda: ImageCache(str(root)).ensure(image)))
            shutil.rmtree(root)
        fetch.reset_mock()
        for _run in range(runs):
            cache = ImageCache(str(root))
            spent.append(seconds(partial(all_at_once, pool, cache, image)))
            shutil.rmtree(root)
    show("image_waiters", spent, "s", {"one alone": round(statistics.median(alone), 3)},
         waiters=WAITERS, fetches=fetch.call_count)  # fmt: skip


def worker_disk(folder: Path) -> Path:
    """Return a copy of the lab's worker image."""
    release = read_release(str(WORKER))
    disk = folder / "disk.qcow2"
    shutil.copyfile(os.path.join(release.location, "disk.qcow2"), disk)
    return disk


def image_customise(runs: int = 3) -> None:
    """One operation, fifty, and fifty by the stock tool: one appliance each, on the worker image."""
    files = [FileOp(f"/opt/bench/{number}", f"{number}\n", mode="0640") for number in range(50)]
    stock = ["virt-customize", "-q", "--no-network", "--format", "qcow2", "-a"]
    spent: dict[str, list[float]] = {"one": [], "fifty": [], "stock": []}
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="bench-") as name:
        for _run in range(runs):
            for what, count in (("one", 1), ("fifty", 50)):
                disk = str(worker_disk(Path(name)))
                recipe = Recipe(files=tuple(files[:count]))
                spent[what].append(seconds(partial(Engine().customise, disk, "qcow2", recipe)))
            argv = [*stock, str(worker_disk(Path(name))), "--mkdir", "/opt/bench"]
            for file in files:
                argv += ["--write", f"{file.path}:{file.content}", "--chmod", f"0640:{file.path}"]
            environment = {**os.environ, "LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}
            spent["stock"].append(seconds(partial(subprocess.run, argv, env=environment, check=True)))
    middle = {what: round(statistics.median(times), 3) for what, times in spent.items()}
    show(
        "image_customise",
        spent["fifty"],
        "s",
        {"virt-customize, the same 50": middle["stock"], "one operation": middle["one"]},
        ratio=round(middle["fifty"] / middle["stock"], 3),
    )


def image_update(mb: int = 50) -> None:
    """Bytes of the image's file that an update in place of one package changes, against the package's."""
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="bench-") as name, repository_in(Path(name)) as repository:
        disk, before = worker_disk(Path(name)), Path(name) / "before.qcow2"
        sources = (FileOp("/etc/apt/sources.list", repository.source),)
        repository.offer("1", mb * 1_000_000)
        bulk = Recipe(files=sources, packages=("wnodes-bulk",), network=True, delete=("/etc/apt/sources.list.d",))
        Engine().customise(str(disk), "qcow2", Recipe(files=sources, delete=bulk.delete))
        Engine().customise(str(disk), "qcow2", bulk)
        repository.offer("2", mb * 1_000_000)
        shutil.copyfile(disk, before)
        Engine().customise(str(disk), "qcow2", Recipe(upgrade=True, network=True))
        changed = differing(before, disk) / 1e6
    show("image_update", [changed], "MB", {"package": mb}, ratio=round(changed / mb, 3))
