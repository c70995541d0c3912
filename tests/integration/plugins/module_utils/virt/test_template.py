# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs from a template on a real libvirt and QEMU: whole VMs, each its own, and no broken template is used.

The tests of this file share one template, which the first of them builds.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.hogs import hogs
from tests.integration.libvirt_fixture import until
from tests.integration.template_site import ROOT, Site, started
from wnodes.model.errors import ImageError, NotFoundError, VirtError
from wnodes.model.image import CachedImage
from wnodes.virt.base import HostEvent
from wnodes.virt.domain import Interface
from wnodes.virt.guest import GuestAgent
from wnodes.virt.personality import CLOCK_TOLERANCE_S, personalise, personality, right_clock, script
from wnodes.virt.surroundings import Resolver, Surroundings
from wnodes.virt.template import DESCRIPTION, MEMORY, Templates

#: what must differ between any two VMs, one line each: read as soon as the VM is ready
UNIQUE = r"""
cat /etc/machine-id
head -c 16 /dev/urandom | od -An -tx1
perl -e '$seen = "\0" x 16; syscall 318, $seen, 16, 0; print unpack("H*", $seen), "\n"' # getrandom
cat /proc/sys/kernel/random/uuid
cat /sys/class/net/*/address | grep -v 00:00:00:00:00:00
hostname
ip -4 -o address show scope global
"""
ROW = 4


@pytest.fixture(scope="module")
def site(worker_image: CachedImage) -> Iterator[Site]:
    with started(worker_image) as site:
        yield site


@pytest.fixture(autouse=True)
def nothing_left(site: Site) -> Iterator[None]:
    """What a failed test leaves is no trouble of the next one's."""
    yield
    left = site.host.list()
    for domain in left:
        site.host.destroy(domain.uuid)
    shutil.rmtree(site.folder / "vms", ignore_errors=True)
    assert left == ()
    assert site.libvirt.qemu_pids() == []


def test_a_template_is_built_once_and_found_again(site: Site) -> None:
    built = site.build()
    assert built.description.settled
    assert built.description.machine.startswith("pc-q35-")
    versions = site.host.versions()
    assert [len(text.split(".")) for text in (versions.qemu, versions.libvirt)] == [3, 3]
    assert len(versions.cpu.split()) >= 2
    assert site.host.list() == ()
    assert site.build() == built
    assert site.new_templates().find(*site.kind) == built
    assert sorted(os.listdir(built.folder)) == ["disk.qcow2", "memory.save", "scratch.raw", "template.json"]
    assert [name for name in os.listdir(Path(built.folder).parent) if name.startswith(".")] == []


def test_many_in_a_row_are_each_their_own(site: Site) -> None:
    seen: list[str] = []
    for number in range(ROW):
        vm = site.vm(number)
        site.ready(vm)
        values = site.guest(vm, UNIQUE).splitlines()
        assert len(values) == 7
        assert values[4:6] == [site.lease(vm).mac, site.lease(vm).name]
        assert f"{site.lease(vm).address}/24" in values[6]
        asked = time.time()
        clock = float(site.guest(vm, "date +%s.%N"))
        assert asked - 3 < clock < time.time() + 1
        assert site.guest(vm, "cat /mnt/home/greeting; touch /scratch/tmp/x; ls /tmp") == "hello from the node\nx\n"
        assert site.guest(vm, "ls /scratch/tmp /root") == "/root:\n\n/scratch/tmp:\nx\n"
        seen += values
        if number:
            site.end(site.vm(number - 1))
    site.end(site.vm(ROW - 1))
    assert len(set(seen)) == len(seen)


def test_three_come_up_at_once(site: Site) -> None:
    vms = [site.vm(number) for number in (50, 51, 52)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(site.ready, vms))
    numbers = [site.guest(vm, "od -An -N16 -tx1 /dev/urandom; cat /etc/machine-id") for vm in vms]
    assert len(set(numbers)) == 3
    for vm in vms:
        site.end(vm)


def test_on_a_busy_node_vms_come_up_all_the_same_and_know_the_time(site: Site) -> None:
    with hogs():
        for number in (20, 21, 22):
            vm = site.vm(number)
            site.ready(vm)
            assert abs(site.clock_off(vm)) < 1.0
            site.end(vm)
        vm = site.vm(23)
        site.boot(vm)
        assert abs(site.clock_off(vm)) < 1.0
        site.end(vm)


def test_a_clone_takes_the_time_from_its_machine_whenever_it_was_told(site: Site) -> None:
    """The moment that it is told has passed long ago, as on a node that is much too busy."""
    vm = site.vm(30)
    site.clone(vm)
    told = time.time() - 20
    site.guest(vm, script(personality(vm, clone=True), told))
    assert abs(site.clock_off(vm)) < 3.0
    site.guest(vm, f"date -u -s @{told}")
    assert abs(right_clock(GuestAgent(site.host, vm.uuid), time.time)) <= CLOCK_TOLERANCE_S
    assert abs(site.clock_off(vm)) < 1.0
    site.end(vm)


def test_a_guest_has_what_its_node_has(site: Site) -> None:
    rules = Path("/usr/share/zoneinfo/Asia/Tokyo").read_bytes().decode("latin-1")
    node = Surroundings(
        Resolver(("192.0.2.1",), ("example.org",), ("ndots:2",)), ("192.0.2.9 licences",), "Asia/Tokyo", rules
    )
    for number, locale in ((31, "LANG=C.UTF-8"), (32, "LANG=tlh_KX.UTF-8")):
        vm = site.vm(number)
        site.clone(vm)
        wanted = personality(vm, True, replace(node, locale=(locale, "LC_TIME=C")))
        personalise(GuestAgent(site.host, vm.uuid), wanted, time.time(), 60)
        assert site.guest(vm, "getent hosts licences; date +%Z; cat /etc/timezone").split() == [
            *("192.0.2.9", "licences", "JST", "Asia/Tokyo")
        ]
        assert site.guest(vm, "cat /etc/resolv.conf").splitlines() == [
            *("search lab example.org", "nameserver 10.0.2.3", "options ndots:2")
        ]
        said = site.guest(vm, "cat /etc/default/locale || true")
        assert (said == f"{locale}\nLC_TIME=C\n") is (locale == "LANG=C.UTF-8")
        assert site.guest(vm, f"getent hosts {site.lease(vm).name}").split()[0] == site.lease(vm).address
        site.end(vm)


def test_each_step_may_be_repeated(site: Site) -> None:
    vm = site.vm(60)
    site.ready(vm)
    uptime = site.guest(vm, "touch /root/mark; cat /proc/sys/kernel/random/boot_id")
    (qemu,) = site.libvirt.qemu_pids()
    assert set(site.clone(vm)) == {"nic", "virtiofs"}
    assert site.libvirt.qemu_pids() == [qemu]
    assert site.guest(vm, "ls /root; cat /proc/sys/kernel/random/boot_id") == "mark\n" + uptime
    assert site.guest(vm, "ls /sys/class/net").split() == ["eth0", "lo"]
    site.end(vm)
    with pytest.raises(NotFoundError):
        site.host.attach(vm.uuid, Interface("52:54:00:00:00:01", ""))


def test_what_a_killed_restore_leaves_does_not_look_whole(site: Site) -> None:
    """The process that feeds libvirt dies in the middle; another one starts the VM after it."""
    vm = site.vm(70)
    site.host.close()  # the child has a connection of its own
    code = "import sys; from tests.integration.template_site import killed_restore; killed_restore(sys.argv[1])"
    child = subprocess.run(
        [sys.executable, "-c", code, json.dumps(site.told(vm))], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert child.returncode == -signal.SIGKILL, child
    until("libvirt gave up", lambda: site.host.find(vm.uuid) is None)
    until("QEMU is gone", lambda: site.libvirt.qemu_pids() == [])
    site.ready(vm)
    site.end(vm)


def test_a_killed_build_leaves_nothing_that_looks_whole(site: Site, tmp_path: Path) -> None:
    root = site.libvirt.folder / "other"
    code = "import sys; from tests.integration.template_site import killed_build; killed_build(sys.argv[1])"
    child = subprocess.run(
        [sys.executable, "-c", code, json.dumps({**site.told(site.vm(0)), "root": str(root)})],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.returncode == -signal.SIGKILL, child
    assert len(site.host.list()) == 1
    templates = Templates(str(root), site.host, site.overheads, site.clock)
    assert templates.find(*site.kind) is None
    assert templates.all() == {}
    built = templates.build(*site.kind)
    assert site.host.list() == ()
    assert os.listdir(root) == [os.path.basename(built.folder)]


@pytest.fixture
def broken(site: Site) -> Iterator[Path]:
    """Give the folder of a copy that a test may break, in the template's place; put the template back afterwards."""
    folder = Path(site.build().folder)
    safe = folder.parent / ".safe"
    folder.rename(safe)
    shutil.copytree(safe, folder)
    for name in os.listdir(safe):
        shutil.copystat(safe / name, folder / name)
    yield folder
    shutil.rmtree(folder)
    safe.rename(folder)


def test_a_truncated_memory_is_refused(site: Site, broken: Path) -> None:
    os.truncate(broken / MEMORY, (broken / MEMORY).stat().st_size // 2)
    with pytest.raises(ImageError, match=r"memory\.save has changed"):
        site.new_templates().find(*site.kind)


def test_a_flipped_byte_is_refused(site: Site, broken: Path) -> None:
    before = (broken / MEMORY).stat()
    with (broken / MEMORY).open("r+b") as file:
        file.seek(before.st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(broken / MEMORY, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ImageError, match=r"memory\.save is not what was written"):
        site.new_templates().find(*site.kind)


def test_a_description_of_another_version_is_refused(site: Site, broken: Path) -> None:
    description = json.loads((broken / DESCRIPTION).read_text())
    description["shape"]["qemu"] = "6.0.0"
    (broken / DESCRIPTION).unlink()
    (broken / DESCRIPTION).write_text(json.dumps(description))
    with pytest.raises(ImageError, match="describes another template"):
        site.new_templates().find(*site.kind)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Give a folder on a file system of 32 MiB; what starts later sees it, too."""
    folder = Path(tempfile.mkdtemp(prefix="wnlab-small-", dir="/var/tmp"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m,mode=711", "tmpfs", str(folder)], check=True, timeout=10)
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=10)
    folder.rmdir()


def test_a_guest_that_fills_the_nodes_disk_is_seen_to_stand_still(worker_image: CachedImage, small_disk: Path) -> None:
    with started(worker_image) as site:
        told: list[HostEvent] = []
        site.host.subscribe(told.append)
        vm = site.vm(1)
        domain = site.domain(vm)
        root, scratch = domain.disks
        site.boot(vm, replace(domain, disks=(root, replace(scratch, path=str(small_disk / "scratch.raw")))))
        found = site.host.find(vm.uuid)
        assert found is not None
        assert (found.active, found.stalled) == (True, "")
        site.guest(vm, "dd if=/dev/urandom of=/scratch/large bs=1M count=64 status=none > /dev/null 2>&1 < /dev/null &")
        until("QEMU stops it", lambda: HostEvent("stopped", vm.uuid) in told, 60.0)
        found = site.host.find(vm.uuid)
        assert found is not None
        assert (found.active, found.stalled) == (True, "disk vdb: no space is left for it on the node's disk")
        site.end(vm)


def test_a_host_that_would_die_of_a_file_system_is_spared(worker_image: CachedImage) -> None:
    with started(worker_image, controllers="") as site:
        daemon, domain = site.libvirt.pid(), site.domain(site.vm(1))
        site.start(replace(domain, interfaces=(), filesystems=()))
        with pytest.raises(VirtError, match="no control group"):
            site.host.attach(domain.uuid, domain.filesystems[0])
        assert site.libvirt.pid() == daemon


def test_a_template_may_be_removed(site: Site) -> None:
    assert site.new_templates().remove(Path(site.build().folder).name) > 0
    assert site.new_templates().find(*site.kind) is None
