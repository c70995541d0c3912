# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hardware virtualisation, believed only when a real guest kernel has booted with it.

``/dev/kvm`` may exist and even make a VM on which ordinary kernels hang (nested virtualisation does that), so its
existence proves nothing.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from dataclasses import dataclass
from typing import Callable, Dict, Optional, Tuple

from ..load import Stretch, stretch
from ..model.errors import CommandFailed
from ..process import Completed
from ..process import run as run_process

log = logging.getLogger(__name__)

KVM, TCG = "kvm", "qemu"
LIMIT_S = 20.0
#: a kernel that did not boot in time is tried again when the service starts again, if the host was so much slower
BUSY = 2.0
DEVICE = "/dev/kvm"
#: distributions put QEMU at different places
QEMU = ("/usr/bin/qemu-system-x86_64", "/usr/libexec/qemu-kvm", "/usr/bin/qemu-kvm")
BOOT_ID = "/proc/sys/kernel/random/boot_id"


@dataclass(frozen=True)
class Accel:
    """libvirt's domain type (``kvm``, or ``qemu`` for TCG) and why it is this one."""

    name: str
    why: str


class AccelProbe:
    """Finds out once for each guest kernel, QEMU and boot of this host, and remembers it in a file.

    :param cache: the file
    :param run: starts a process, as :func:`process.run` does
    :param stretch: tells how busy this host is
    """

    def __init__(
        self,
        cache: str,
        run: Callable[..., Completed] = run_process,
        device: str = DEVICE,
        boot_id: str = BOOT_ID,
        limit_s: float = LIMIT_S,
        stretch: Stretch = stretch,
    ) -> None:
        self._cache, self._run, self._device, self._boot_id, self._limit_s = cache, run, device, boot_id, limit_s
        self._stretch = stretch
        self._lock = threading.Lock()

    def probe(self, kernel: str, digest: str) -> Accel:
        """Return what guests with this kernel can run on.

        :param kernel: path of a bzImage or vmlinuz
        :param digest: its sha256, in whatever form: the same text stands for the same kernel
        """
        with self._lock:
            qemu = next((path for path in QEMU if os.path.exists(path)), QEMU[0])
            key = " ".join((digest, self._version(qemu), self._read_boot_id()))
            known = self._remembered(key)
            if known is not None:
                return known
            found, sure = self._boot(qemu, kernel)
            log.log(
                logging.INFO if found.name == KVM else logging.WARNING,
                "guests run on %s: %s",
                "KVM" if found.name == KVM else "TCG (slow)",
                found.why,
            )
            if sure:
                self._remember(key, found)
            return found

    def known(self) -> Tuple[Accel, ...]:
        """Return what was found out since this host's boot, without trying anything."""
        boot_id = self._read_boot_id()
        found = (self._remembered(key) for key in sorted(self._load()) if key.rpartition(" ")[2] == boot_id)
        return tuple(accel for accel in found if accel is not None)

    def _boot(self, qemu: str, kernel: str) -> Tuple[Accel, bool]:
        """Return what a boot showed, and whether that is certain."""
        if not os.path.exists(self._device):
            return Accel(TCG, f"there is no {self._device}"), True
        argv = [qemu, "-machine", "q35", "-accel", "kvm", "-cpu", "host", "-m", "256", "-nodefaults", "-no-user-config"]
        argv += ["-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", kernel]
        # without a root file system the kernel panics, with panic=-1 it reboots then, with -no-reboot QEMU ends
        argv += ["-append", "console=ttyS0 panic=-1"]
        try:
            done = self._run(argv, timeout=self._limit_s * self._stretch(), check=False)
        except CommandFailed as error:
            return Accel(TCG, f"a guest kernel on {self._device} {error.reason}"), self._stretch() < BUSY
        if done.rc != 0 or "Linux version" not in done.stdout:
            said = (done.stderr.strip() or done.stdout.strip())[-300:]
            return Accel(TCG, f"a guest kernel on {self._device} did not boot: exit code {done.rc}: {said}"), True
        return Accel(KVM, "a guest kernel booted with it"), True

    def _version(self, qemu: str) -> str:
        try:
            return self._run([qemu, "--version"], timeout=10.0).stdout.partition("\n")[0]
        except CommandFailed as error:
            return error.reason

    def _read_boot_id(self) -> str:
        try:
            with open(self._boot_id, encoding="ascii") as file:
                return file.read().strip()
        except OSError:
            return ""

    def _load(self) -> Dict[str, Dict[str, str]]:
        try:
            with open(self._cache, encoding="utf-8") as file:
                content = json.load(file)
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _remembered(self, key: str) -> Optional[Accel]:
        entry = self._load().get(key)
        try:
            return Accel(entry["name"], entry["why"]) if entry else None
        except (KeyError, TypeError):
            return None

    def _remember(self, key: str, found: Accel) -> None:
        boot_id = key.rpartition(" ")[2]
        # what earlier boots of this host said is worth nothing any more
        entries = {old: entry for old, entry in self._load().items() if old.rpartition(" ")[2] == boot_id}
        entries[key] = {"name": found.name, "why": found.why}
        try:
            os.makedirs(os.path.dirname(self._cache), exist_ok=True)
            with open(self._cache + ".new", "w", encoding="utf-8") as file:
                json.dump(entries, file)
            os.replace(self._cache + ".new", self._cache)
        except OSError as error:
            log.warning("%s can't be written, the next start probes again: %s", self._cache, error)
