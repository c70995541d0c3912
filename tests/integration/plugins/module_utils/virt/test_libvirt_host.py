# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor on a real libvirt and QEMU: one VM from its first boot to its end, and what may happen on the way.

The tests of this file share one VM and run in their order.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.libvirt_fixture import until
from tests.integration.machine import Machine, running
from tests.patience import patience
from tests.releases import release
from wnodes.hypervisor.desired_state import wait
from wnodes.model.errors import StateError, UnavailableError, VirtError
from wnodes.model.image import CachedImage, Release
from wnodes.model.resources import Resources
from wnodes.model.states import VmState
from wnodes.model.vm import GuestFile, GuestSetup
from wnodes.virt.accel import AccelProbe
from wnodes.virt.guest import GuestAgent
from wnodes.virt.libvirt_host import LibvirtHost
from wnodes.virt.personality import personalise, personality

ROOT = Path(__file__).resolve().parents[5]

BAD_TAG = "broken_debian12_x86_64"
FOREIGN = """<domain type='qemu'><name>database</name><memory unit='MiB'>16</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>"""
UP_S = 120.0


@pytest.fixture(scope="module")
def machine(worker_image: CachedImage, worker_release: Release) -> Iterator[Machine]:
    probe_cache = Path("/var/tmp/wnlab-virt-accel.json")
    accel = AccelProbe(str(probe_cache)).probe(worker_image.kernel, worker_image.image.kernel.digest)
    probe_cache.unlink(missing_ok=True)
    # no templates: what is started here shall boot
    with running(worker_image, worker_release, accel.name, template_cache_mib=0) as machine:
        machine.accel = accel
        # the kernel finds nothing to run and panics; the reboot that follows ends the domain
        bad = replace(worker_release.claims(), cmdline="console=ttyS0 rdinit=/none panic=-1")
        machine.directory.set_tags((BAD_TAG,), release(bad, worker_release.location))
        yield machine


def test_a_vm_boots_and_becomes_itself(machine: Machine, worker_image: CachedImage) -> None:
    machine.base = os.stat(worker_image.disk)
    machine.ask("vm1")
    wait(machine.hypervisor, "vm1", True, UP_S)
    vm = machine.hypervisor.get("vm1")
    assert (vm.name, vm.accel) == ("vwn-100", machine.accel.name)
    facts = machine.guest(
        "cat /proc/sys/kernel/hostname; hostname; ip -4 -o address show eth0; cat /etc/resolv.conf /etc/hosts"
    )
    assert facts.count("vwn-100\n") == 3
    assert "10.0.2.100/24" in facts
    assert "nameserver 10.0.2.3" in facts
    assert machine.hypervisor.status().ok


def test_it_sees_its_mounts_and_its_scratch_disk(machine: Machine) -> None:
    assert machine.guest("cat /home/greeting /opt/site/greeting") == "hello from the node\n" * 2
    machine.guest("echo hello from the VM > /home/answer; sync")
    assert (machine.libvirt.folder / "home" / "answer").read_text() == "hello from the VM\n"
    assert machine.guest("touch /opt/site/x 2>/dev/null || echo refused") == "refused\n"
    scratch = machine.guest("stat -f -c '%b %S' /scratch; stat -c %a /scratch /tmp; touch /tmp/x; ls /scratch/tmp")
    (blocks, size), *rest = (line.split() for line in scratch.splitlines())
    assert 400 << 20 < int(blocks) * int(size) < 512 << 20
    assert rest == [["1777"], ["1777"], ["x"]]


def test_its_shape_is_what_was_asked_for(machine: Machine) -> None:
    shape = machine.guest("nproc; cat /proc/meminfo; cat /sys/devices/virtual/misc/hw_random/rng_current")
    assert shape.startswith("1\n")
    memory_kib = int(shape.split("MemTotal:")[1].split()[0])
    assert 512 << 10 <= memory_kib <= machine.config.overheads.guest(Resources(1, 512)).memory_mib << 10
    assert "virtio_rng" in shape


def test_setup_writes_files_and_runs_commands(machine: Machine) -> None:
    nasty = "it's $(touch /canary) `x` \\ \"ü\n\n"
    machine.hypervisor.setup(
        "vm1",
        GuestSetup(
            (GuestFile("/etc/a/b c", nasty, 0o640, "daemon", "adm"),),
            (
                ("cp", "/etc/a/b c", "/etc/a/copy"),
                ("sh", "-c", 'test "$(stat -c %U:%G:%a "/etc/a/b c")" = daemon:adm:640'),
            ),
        ),
    )
    assert machine.guest("cat /etc/a/copy; test ! -e /canary") == nasty
    with pytest.raises(VirtError, match="command failed with exit code 3: sh -c"):
        machine.hypervisor.setup("vm1", GuestSetup((), (("sh", "-c", "exit 3"), ("touch", "/never"))))
    machine.guest("test ! -e /never")


def test_files_written_in_place_keep_their_owner_and_hold_any_byte(machine: Machine) -> None:
    secret = bytes(range(256)).decode("latin-1")
    file = GuestFile("/run/secret", secret, 0o640, "daemon", "adm", in_place=True, encoding="latin-1")
    look = "stat -c %U:%G:%a /run/secret; od -An -v -tx1 /run/secret | tr -d ' \n'"
    for _ in ("made", "written again"):
        machine.hypervisor.setup("vm1", GuestSetup((file,)))
        assert machine.guest(look) == "daemon:adm:640\n" + bytes(range(256)).hex()


def test_what_the_guest_says_over_its_channel_is_heard_and_acknowledged(machine: Machine) -> None:
    # the guest's own end, as the batch system calls it there
    hook = (ROOT / "roles/guest/files/slurm-hook").read_text()
    paths = ("/run/prolog.d/hook", "/run/epilog.d/hook")
    machine.hypervisor.setup("vm1", GuestSetup(tuple(GuestFile(path, hook, 0o755) for path in paths)))
    for path, told in zip(paths, ("start", "end")):
        seen = machine.hypervisor.events(0, 0)[-1].seq
        machine.guest(f"SLURM_JOB_ID=17 {path}")
        (event,) = machine.hypervisor.events(seen, 5.0)
        assert (event.vm, event.kind, event.data) == ("vm1", "guest", {"event": told, "job": "17"})
    machine.guest(f'SLURM_JOB_ID=\'17", "x": "y\' {paths[0]}')
    assert machine.hypervisor.events(0, 0)[-1].data["job"] == ""


def test_a_hook_in_a_guest_to_whom_nobody_listens_ends_all_the_same(machine: Machine) -> None:
    hook = (ROOT / "roles/guest/files/slurm-hook").read_text().replace("org.wnodes.0", "org.qemu.guest_agent.0")
    machine.hypervisor.setup("vm1", GuestSetup((GuestFile("/run/prolog.d/busy", hook, 0o755),)))
    machine.guest("SLURM_JOB_ID=17 /run/prolog.d/busy")  # the port is the agent's, and open


def test_a_clone_could_be_reseeded(machine: Machine) -> None:
    vm = machine.hypervisor.get("vm1")
    guest = GuestAgent(machine.host, vm.uuid)
    wanted = personality(vm, clone=True)
    personalise(guest, wanted, time.time(), 60)
    assert machine.guest("cat /etc/machine-id").strip() == wanted.machine_id


def test_a_wrong_clock_is_set(machine: Machine) -> None:
    machine.guest("date -s @1000000000 >&2")
    vm = machine.hypervisor.get("vm1")
    personalise(GuestAgent(machine.host, vm.uuid), personality(vm), time.time(), 60)
    assert abs(int(machine.guest("date +%s")) - time.time()) < 10


def test_foreign_domains_are_left_alone(machine: Machine) -> None:
    import libvirt

    connection = libvirt.open(machine.libvirt.uri)
    foreign = connection.createXML(FOREIGN, libvirt.VIR_DOMAIN_START_PAUSED)
    try:
        assert {(found.name, found.metadata is None) for found in machine.host.list()} == {
            ("vwn-100", False),
            ("database", True),
        }
        with pytest.raises(VirtError, match="not ours"):
            machine.host.destroy(foreign.UUIDString())
    finally:
        foreign.destroy()
        connection.close()


def test_a_hung_libvirt_costs_a_deadline_and_no_vm(machine: Machine) -> None:
    host = LibvirtHost(machine.libvirt.uri, 2.0, lambda: 2.0)
    host.ping()
    machine.libvirt.signal(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        with pytest.raises(UnavailableError, match="did not answer within 4 s"):
            host.list()
        assert time.monotonic() - begun < 5 + 3 * patience()
        until("status tells", lambda: not machine.hypervisor.status().ok, 60.0)
        assert machine.hypervisor.get("vm1").state is VmState.READY
    finally:
        machine.libvirt.signal(signal.SIGCONT)
    until("it answers again", lambda: machine.hypervisor.status().ok)
    host.ping()
    host.close()
    assert machine.hypervisor.get("vm1").state is VmState.READY


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restarted_libvirt_is_found_again(machine: Machine, number: int) -> None:
    old = machine.libvirt.pid()
    machine.libvirt.signal(number)
    until("a new libvirtd", lambda: machine.libvirt.pid() not in (0, old))
    until("it answers again", lambda: machine.hypervisor.status().ok)

    def agent_answers() -> bool:
        try:
            return machine.guest("echo alive") == "alive\n"
        except (VirtError, UnavailableError):
            return False

    until("the guest's agent answers", agent_answers)
    assert machine.hypervisor.get("vm1").state is VmState.READY


def test_a_restarted_hypervisor_takes_its_vm_up_again(machine: Machine) -> None:
    machine.hypervisor.use("vm1")
    machine.hypervisor.stop()
    machine.build()
    until("it looked around", lambda: machine.hypervisor.status().ok)
    assert machine.hypervisor.get("vm1").state is VmState.IN_USE
    assert len(machine.libvirt.qemu_pids()) == 1


def test_a_vm_that_does_not_come_up_is_broken_and_says_why(machine: Machine) -> None:
    machine.ask("vm2", BAD_TAG)
    with pytest.raises(StateError, match="its domain ended while it booted"):
        wait(machine.hypervisor, "vm2", True, UP_S)
    assert "panic" in machine.hypervisor.get("vm2").reason
    machine.hypervisor.destroy("vm2")
    wait(machine.hypervisor, "vm2", False, 30)


def test_a_vm_whose_qemu_dies_is_broken_at_once(machine: Machine) -> None:
    (qemu,) = machine.libvirt.qemu_pids()
    os.kill(qemu, signal.SIGKILL)
    until("it is told", lambda: machine.hypervisor.get("vm1").state is VmState.BROKEN, 10)
    assert "its domain is gone" in machine.hypervisor.get("vm1").reason


def test_at_the_end_nothing_is_left(machine: Machine, worker_image: CachedImage) -> None:
    machine.hypervisor.destroy("vm1")
    wait(machine.hypervisor, "vm1", False, 30)
    assert machine.host.list() == ()
    assert machine.libvirt.qemu_pids() == []
    assert machine.directory.leases() == ()
    state = machine.libvirt.folder / "state"
    assert list((state / "vms").iterdir()) == []
    until("the trash is empty", lambda: list((state / "trash").iterdir()) == [])
    now = os.stat(worker_image.disk)
    assert (now.st_uid, now.st_mode, now.st_mtime_ns) == (
        machine.base.st_uid,
        machine.base.st_mode,
        machine.base.st_mtime_ns,
    )
