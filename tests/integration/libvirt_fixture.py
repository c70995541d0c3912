# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A libvirt daemon of our own: private mounts, processes and sockets, so that the machine's is never touched."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.patience import patience

#: libvirt's folders are compiled in, so ours are mounted over them, in a mount namespace. In a process namespace of
#: its own a first process reaps what libvirt leaves to it, and takes everything with it when it ends.
START = """
set -eu
mount --make-rprivate /
# libvirt takes a tree that controls nothing for none, and dies (9.0) when a file system is plugged into a domain that
# has no control group
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
printf %s "$2" > "$1/controllers"
mount --bind "$1/controllers" /sys/fs/cgroup/cgroup.controllers
for pair in run:/run etc:/etc/libvirt lib:/var/lib/libvirt cache:/var/cache/libvirt log:/var/log/libvirt; do
    mkdir -p "$1/${pair%%:*}" "${pair#*:}"
done
cp /etc/passwd /etc/group "$1"
grep -q ^libvirt-qemu: "$1/group" || echo 'libvirt-qemu:x:64055:' >> "$1/group"
grep -q ^libvirt-qemu: "$1/passwd" || echo 'libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin' >> "$1/passwd"
# libvirt asks QEMU at each start what it can do, for seconds, where it may use KVM itself and QEMU's user may not
if [ -e /dev/kvm ]; then
    mknod -m 0666 "$1/kvm" c 10 232
    mount --bind "$1/kvm" /dev/kvm
fi
printf 'security_driver = "none"\\ncgroup_controllers = ["cpuacct"]\\n' > "$1/etc/qemu.conf"
echo 'auth_unix_rw = "none"' > "$1/etc/libvirtd.conf"
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/group" /etc/group
for pair in etc:/etc/libvirt lib:/var/lib/libvirt cache:/var/cache/libvirt log:/var/log/libvirt run:/run; do
    mount --bind "$1/${pair%%:*}" "${pair#*:}"
done
/usr/sbin/virtlogd &
while :; do /usr/sbin/libvirtd || true; done
"""


def until(what: str, ready: Callable[[], bool], limit_s: float = 30.0) -> None:
    """Wait until ``ready`` says so; fail after ``limit_s`` seconds of a quiet machine's."""
    begin, pause = time.monotonic(), threading.Event()
    while not ready():
        if time.monotonic() - begin > limit_s * patience():
            raise AssertionError(f"{what}: not within {time.monotonic() - begin:.0f} s")
        pause.wait(0.05)


def _of_process(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""  # it has just ended


class PrivateLibvirt:
    """The daemon. It is started again whenever it ends, as systemd would do.

    :param controllers: of its control groups, as it sees them; where there are none, domains get no group
    """

    def __init__(self, controllers: str = "hugetlb") -> None:
        self._controllers = controllers
        # not pytest's folder: QEMU's user has to get through, and socket paths are short
        self.folder = Path(tempfile.mkdtemp(prefix="wnlab-virt-", dir="/var/tmp"))
        self.folder.chmod(0o711)
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
        self._group = Path(next(at for _, at, kind, *_ in mounts if kind == "cgroup2")) / self.folder.name
        self._first: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={self.folder}/libvirt/run/libvirt/libvirt-sock"

    def start(self) -> None:
        home = self.folder / "libvirt"
        home.mkdir()
        self._group.mkdir()
        command = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self._group / "cgroup.procs")]
        command += ["unshare", "--mount", "--pid", "--cgroup", "--fork", "--mount-proc", "--kill-child"]
        command += ["sh", "-c", START, "sh", str(home), self._controllers]
        with open(self.folder / "libvirtd.log", "wb") as log:
            self._first = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until("libvirtd's socket", (home / "run" / "libvirt" / "libvirt-sock").exists)

    def pid(self) -> int:
        """Return the daemon's process id, 0 while it does not run."""
        return next(iter(self._pids("libvirtd")), 0)

    def qemu_pids(self) -> list[int]:
        """Return the process ids of all QEMUs."""
        return self._pids("qemu-system-x86")

    def _pids(self, comm: str) -> list[int]:
        assert self._first is not None
        found, parents = [], [self._first.pid]
        while parents:
            parent = parents.pop()
            for task in Path(f"/proc/{parent}/task").glob("*/children"):
                children = [int(word) for word in _of_process(task).split()]
                parents += children
                found += [pid for pid in children if _of_process(Path(f"/proc/{pid}/comm")) == comm]
        return found

    def signal(self, number: int) -> None:
        """Send the daemon a signal."""
        os.kill(self.pid(), number)

    def stop(self) -> None:
        try:
            self._end()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self) -> None:
        if self._first is not None:
            for pid in self._pids("libvirtd"):
                os.kill(pid, signal.SIGCONT)
            # unshare dies, and by --kill-child everything below it
            self._first.kill()
            self._first.wait(30 * patience())
            until(
                "no process in its control group", lambda: "populated 0" in (self._group / "cgroup.events").read_text()
            )
            for group in sorted(self._group.rglob("*/"), reverse=True):
                group.rmdir()
            self._group.rmdir()
