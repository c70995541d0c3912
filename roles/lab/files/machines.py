#!/usr/bin/python3
# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts and stops the systemd-nspawn machines of the lab, on hosts with and without systemd.

    machines.py start SITE.json               what is down or not as SITE.json says; returns when all booted
    machines.py stop LAB STATE_DIR SECONDS    every machine there is

Both print one JSON object, machine name → {"action": "none" | "started" | "stopped" | "killed", …}. Exit code 1 and a
text on stderr when a machine does not come up in time or can't be ended.

Layout of STATE_DIR: <name>/layer (what makes the base tree this machine), <name>/{upper,work,root} (overlay),
<name>/process.json (what runs), <name>.log (console).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import select
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import Any, Dict, List, Optional

BOOT = pathlib.Path(__file__).resolve().with_name("boot_machine.sh")


class LabError(Exception):
    """Something the user must see; the text says which machine and what to look at."""


@dataclasses.dataclass(frozen=True)
class Process:
    """What was started: process id and its start time (clock ticks since boot), for process ids are used again."""

    pid: int
    started: int
    base: str
    digest: str  # of everything it was started with

    @classmethod
    def load(cls, path: pathlib.Path) -> Optional[Process]:
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):  # not started yet, or cut off while it was written
            return None

    def open(self) -> Optional[int]:
        """A pidfd while it runs, else None."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        if start_time(self.pid) == self.started:
            return pidfd
        os.close(pidfd)
        return None


def start_time(pid: int) -> int:
    """Start of process PID in clock ticks since boot; -1 when there is none or it is a zombie."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return -1
    # The second field is the program's name and may hold anything, so count from its closing parenthesis.
    fields = stat.rpartition(")")[2].split()
    return -1 if fields[0] == "Z" else int(fields[19])


class Machine:
    """One machine under STATE_DIR; for the host its name begins with that of its lab, of which there may be several."""

    def __init__(self, lab: str, state_dir: pathlib.Path, name: str) -> None:
        self.name = name
        self.on_host = f"{lab}-{name}"
        self.dir = state_dir / name
        self.log = state_dir / f"{name}.log"
        self.record = self.dir / "process.json"
        self.notify: Optional[socket.socket] = None
        self.pidfd = -1

    def command(self, site: Dict[str, Any]) -> List[str]:
        devices = [device for device in site["devices"] if os.path.exists(device)]
        return [
            "unshare", "--mount", "--propagation=private",
            str(BOOT), self.on_host, site["base"], str(self.dir),
            f"--machine={self.on_host}", f"--hostname={self.name}", f"--network-bridge={site['bridge']}",
            # No unit, no machined: where the host's init is not systemd there is neither.
            "--register=no", "--keep-unit", "--boot", "--notify-ready=yes", "--capability=all",
            "--resolv-conf=off", "--timezone=off", "--link-journal=no",
            *(f"--bind={path}" for path in (*site["binds"], *devices)),
        ]  # fmt: skip

    def write_layer(self, base: pathlib.Path, files: Dict[str, Dict[str, str]]) -> None:
        """Write FILES (path → mode, content) afresh. Only while it is down: layers of a mount must not change."""
        layer = self.dir / "layer"
        shutil.rmtree(layer, ignore_errors=True)
        for name, file in files.items():
            path = layer / name.lstrip("/")
            for parent in reversed(path.relative_to(layer).parents):
                if not (layer / parent).is_dir():
                    (layer / parent).mkdir(parents=True)
                    if (base / parent).is_dir():  # an overlay shows the upper folder's mode
                        shutil.copymode(base / parent, layer / parent)
            path.touch(mode=0o600)
            path.write_text(file["content"], encoding="utf-8")
            path.chmod(int(file["mode"], 8))

    def start(self, command: List[str], base: str, digest: str) -> None:
        """Start it and return at once; `self.notify` gets READY=1 when the boot is over."""
        for name in ("upper", "work", "root"):
            (self.dir / name).mkdir(exist_ok=True)
        address = self.dir / "notify"
        address.unlink(missing_ok=True)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.notify.bind(str(address))
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,  # outlives us and the terminal we were called from
                env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "NOTIFY_SOCKET": str(address)},
            )
        self.pidfd = os.pidfd_open(child.pid)
        process = Process(child.pid, start_time(child.pid), base, digest)
        self.record.write_text(json.dumps(dataclasses.asdict(process)), encoding="utf-8")

    def stop(self, seconds: float) -> str:
        """End it and everything in it: politely, after SECONDS by force. Returns the action taken."""
        action = "none"
        process = Process.load(self.record)
        pidfd = process.open() if process else None
        if pidfd is not None:
            action = "stopped"
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)  # becomes an orderly shutdown
            if not ended(pidfd, seconds):
                action = "killed"
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)  # the machine's init dies with its parent
                if not ended(pidfd, 10):
                    raise LabError(f"machine {self.name}: process {process.pid if process else '?'} survives SIGKILL")
            os.close(pidfd)
        remove_cgroup(self.on_host)
        return action

    def forget(self) -> None:
        """Drop what it wrote: the next boot is its first."""
        for name in ("upper", "work", "root"):
            shutil.rmtree(self.dir / name, ignore_errors=True)


def ended(pidfd: int, seconds: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(pidfd, selectors.EVENT_READ)
        return bool(selector.select(seconds))


def remove_cgroup(name: str) -> None:
    """Kill whatever is left in the machine's cgroup and remove it, where the host shows us its cgroup2 tree."""
    for line in pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, mountpoint, kind = line.split()[:3]
        top = pathlib.Path(mountpoint) / "wnlab"
        group = top / name
        if kind != "cgroup2" or not group.is_dir():
            continue
        (group / "cgroup.kill").write_text("1", encoding="ascii")
        deadline = time.monotonic() + 10
        for folder, _, _ in os.walk(group, topdown=False):
            wait_empty(pathlib.Path(folder), deadline)
            os.rmdir(folder)
        if not any(path.is_dir() for path in top.iterdir()):
            top.rmdir()
        return


def wait_empty(group: pathlib.Path, deadline: float) -> None:
    """Block until no process is left in GROUP. The kernel wakes pollers of cgroup.events with POLLPRI."""
    with (group / "cgroup.events").open("rb", buffering=0) as events:
        poller = select.poll()
        poller.register(events, select.POLLPRI)
        while b"populated 1" in os.pread(events.fileno(), 4096, 0):
            if time.monotonic() > deadline:
                raise LabError(f"processes in {group} survive being killed")
            poller.poll(1000)


def start(site: Dict[str, Any]) -> Dict[str, Dict[str, Any]]:
    state_dir = pathlib.Path(site["state_dir"])
    result: Dict[str, Dict[str, Any]] = {}
    waiting: Dict[str, Machine] = {}
    begin = time.monotonic()
    for name, files in site["machines"].items():
        machine = Machine(site["lab"], state_dir, name)
        command = machine.command(site)
        digest = hashlib.sha256(json.dumps([command, files]).encode()).hexdigest()
        before = Process.load(machine.record)
        if before and before.digest == digest and before.open() is not None:
            result[name] = {"action": "none"}
            continue
        machine.stop(site["stop_timeout"])
        if before and before.base != site["base"]:
            machine.forget()  # what was written over another base tree does not fit this one
        machine.write_layer(pathlib.Path(site["base"]), files)
        machine.start(command, site["base"], digest)
        waiting[name] = machine
    try:
        for name, seconds in wait_ready(waiting, begin, site["start_timeout"]):
            result[name] = {"action": "started", "seconds": round(seconds, 1)}
    except LabError:
        for machine in waiting.values():
            machine.stop(site["stop_timeout"])
        raise
    return result


def wait_ready(waiting: Dict[str, Machine], begin: float, timeout: float) -> Any:
    """Yield (name, seconds since BEGIN) as machines finish booting; LabError when one ends or TIMEOUT has passed."""
    with selectors.DefaultSelector() as selector:
        for machine in waiting.values():
            # None only before the machine was started, which whoever waits for it has seen to
            selector.register(machine.notify, selectors.EVENT_READ, (machine, "notify"))  # type: ignore[arg-type]
            selector.register(machine.pidfd, selectors.EVENT_READ, (machine, "end"))
        pending = set(waiting)
        while pending:
            events = selector.select(max(0.0, begin + timeout - time.monotonic()))
            if not events:
                names = ", ".join(sorted(pending))
                raise LabError(f"machines {names} have not booted after {timeout} s: {logs(waiting, pending)}")
            for key, _ in events:
                machine, what = key.data
                if what == "end":
                    raise LabError(f"machine {machine.name} ended while it booted: {logs(waiting, {machine.name})}")
                message = machine.notify.recv(4096).splitlines()
                if b"READY=1" in message and machine.name in pending:
                    pending.remove(machine.name)
                    yield machine.name, time.monotonic() - begin


def logs(machines: Dict[str, Machine], names: Any) -> str:
    tails = (machines[name].log.read_text(encoding="utf-8", errors="replace")[-2000:] for name in sorted(names))
    return "\n".join(tails)


def stop(lab: str, state_dir: pathlib.Path, seconds: float) -> Dict[str, Dict[str, Any]]:
    if not state_dir.is_dir():
        return {}
    names = sorted(path.name for path in state_dir.iterdir() if path.is_dir())
    return {name: {"action": Machine(lab, state_dir, name).stop(seconds)} for name in names}


def main(arguments: List[str]) -> int:
    os.umask(0o022)
    try:
        if len(arguments) == 2 and arguments[0] == "start":
            result = start(json.loads(pathlib.Path(arguments[1]).read_text(encoding="utf-8")))
        elif len(arguments) == 4 and arguments[0] == "stop":
            result = stop(arguments[1], pathlib.Path(arguments[2]), float(arguments[3]))
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
