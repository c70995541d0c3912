# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Slurm of our own: a controller, two nodes and any number of VMs, each a bundle of namespaces over one Debian tree.

``WNODES_SLURM_RELEASE`` chooses the release of Debian whose Slurm it is: ``bookworm`` (22.05) or ``trixie`` (24.11).
All of it has network, mounts, processes and host name of its own and ends with its first process.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml

from tests.integration.libvirt_fixture import until
from wnodes.model.errors import CommandFailed
from wnodes.process import Completed

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path("/var/cache/wnodes-lab")
RELEASE = os.environ.get("WNODES_SLURM_RELEASE", "bookworm")
PACKAGES = ("iproute2", "munge", "python3", "slurm-client", "slurmctld", "slurmd")
USERS = {"alice": 2001, "bob": 2002}
GROUP = 100
HEAD = "10.0.0.1"
NODES = {"hv1": "10.0.0.11", "hv2": "10.0.0.12"}
#: slurmd's own folder on each machine
SPOOL = "/var/lib/slurm/slurmd"
#: where each run of a job writes down its node, seen by all machines
RUNS = "/runs"
#: a job that does so, and ends when it is told to, or after SECONDS
SCRIPT = f"""#!/bin/sh
run={RUNS}/${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}${{SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}}
echo "$SLURMD_NODENAME" >> $run
seconds=SECONDS
while [ "$seconds" -gt 0 ] && [ ! -e $run.end ]; do sleep 1; seconds=$((seconds - 1)); done
"""

#: the first process: folder, tree. What is written goes to memory and is gone with the last process.
START = """
set -eu
cd "$1"
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs memory
mkdir memory/upper memory/work
mount -t overlay -o "lowerdir=$2,upperdir=memory/upper,workdir=memory/work" overlay root
mount -t proc proc root/proc
mount -t sysfs sysfs root/sys
mount -t tmpfs -o mode=0755 tmpfs root/run
cp -a files/. root/
mkdir -p root/runs root/host root/run/munge root/var/lib/slurm/slurmctld
mount --bind runs root/runs
mount --bind host root/host
chroot root chown slurm /var/lib/slurm/slurmctld
chroot root chown munge: /run/munge
chroot root chown -R munge: /etc/munge
hostname head
ip link set lo up
ip link add br0 type bridge
ip address add 10.0.0.1/24 dev br0
ip link set br0 up
exec chroot root sh -c 'touch /host/up; while :; do sleep 3600 & wait; done'
"""

#: a node or VM: name, address, interface, program. Its network has to be there before its processes have numbers of
#: their own, for the interface is handed over by number. Its files are those of the head, but for what a node writes.
MACHINE = """
set -eu
echo $$ > "/host/$1.pid"
# the kernel takes that of a machine of this name away some time after its end
nsenter --target 1 --net ip link delete "$3" 2> /dev/null || true
nsenter --target 1 --net ip link add "$3" type veth peer name eth0 netns $$
nsenter --target 1 --net ip link set "$3" master br0 up
ip link set lo up
ip address add "$2/24" dev eth0
ip link set eth0 up
hostname "$1"
mkdir -p /mnt/run
mount -t tmpfs -o mode=0755 tmpfs /mnt/run
mkdir -p /mnt/run/munge /mnt/run/wnodes "/host/$1"
mount --bind /run/munge /mnt/run/munge
mount --bind "/host/$1" /mnt/run/wnodes
mount --rbind /mnt/run /run
mount -t tmpfs -o mode=0755 tmpfs /var/lib/slurm
mkdir -p /var/lib/slurm/slurmd /var/lib/wnodes/adopt "/host/$1/adopt" "/host/$1/spool"
mount --bind "/host/$1/spool" /var/lib/slurm/slurmd
mount --bind "/host/$1/adopt" /var/lib/wnodes/adopt
mount --bind "/host/$1" /var/log/slurm
exec unshare --pid --fork --kill-child --mount-proc sh -c "$4"
"""
#: as an administrator of images would have it: a prolog and an epilog that ask nobody
GUEST = """
for kind in prolog epilog; do
    mount -t tmpfs -o mode=0755 tmpfs /etc/slurm/$kind.d
    printf '#!/bin/sh\\nexit 0\\n' > /etc/slurm/$kind.d/10-image
    chmod 0755 /etc/slurm/$kind.d/10-image
done
"""


def tree(release: str = RELEASE) -> Path:
    """Return a Debian tree with Slurm, which is built if it is missing."""
    builder = ROOT / "roles" / "lab" / "files" / "build_base.sh"
    digest = hashlib.sha256(" ".join((release, *PACKAGES)).encode() + builder.read_bytes()).hexdigest()[:12]
    target = CACHE / f"slurm-{release}-{digest}"
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [
            "unshare",
            "--mount",
            "--propagation=private",
            str(builder),
            str(target),
            release,
            ",".join(PACKAGES),
        ]
        subprocess.run(command, check=True, timeout=1800, env={**os.environ, "TMPDIR": str(CACHE)})
    return target


def slurm_conf(settings: Mapping[str, str], more: Sequence[str]) -> str:
    """Return the configuration that role ``slurm_controller`` would write, with ``settings`` instead of its own.

    :param more: whole lines for its end, such as ``PartitionName=long Nodes=hv1``
    """
    environment = jinja2.Environment(trim_blocks=True, autoescape=False, undefined=jinja2.StrictUndefined)
    environment.filters["regex_replace"] = lambda text, pattern, by: re.sub(pattern, by, text)
    source = ROOT / "roles" / "slurm_controller" / "templates" / "slurm.conf.j2"
    # many jobs at once: what is counted is what goes wrong now and then
    node = {"cpus": 16, "memory_mib": 16000, "tmp_mib": 1000}
    values = {
        **yaml.safe_load((ROOT / "roles" / "slurm_controller" / "defaults" / "main.yml").read_text()),
        "slurm_controller_cluster_name": "private",
        "slurm_controller_host": "head",
        "slurm_controller_address": HEAD,
        "slurm_controller_memory_per_cpu_mib": 100,
        "slurm_controller_nodes": [{"name": name, "address": address, **node} for name, address in NODES.items()],
    }
    written = environment.from_string(source.read_text(encoding="utf-8")).render(**values)
    written = written.replace("Features=bait", "Features=bait,ssd Gres=tape:2")
    lines = [line for line in written.splitlines() if line.partition("=")[0] not in settings]
    first = next(number for number, line in enumerate(lines) if line.startswith("NodeName="))
    lines[first:first] = [f"{key}={value}" for key, value in settings.items()]
    return "\n".join([*lines, *more]) + "\n"


class PrivateSlurm:
    """The cluster. ``run`` and ``runner`` reach into it; everything else is made of them.

    :param settings: of slurm.conf, by name, instead of what role ``slurm_controller`` writes
    :param more: lines for the end of slurm.conf
    """

    def __init__(
        self, settings: Mapping[str, str] | None = None, more: Sequence[str] = (), release: str = RELEASE
    ) -> None:
        self.tree = tree(release)
        # not pytest's folder: paths of sockets are short
        self.folder = Path(tempfile.mkdtemp(prefix="wnlab-slurm-", dir="/var/tmp"))
        self.folder.chmod(0o711)
        self._conf = slurm_conf(settings or {}, more)
        self._first: subprocess.Popen[bytes] | None = None
        self._machines: dict[str, subprocess.Popen[bytes]] = {}
        self._enter: list[str] = []
        self._lock = threading.Lock()

    # the cluster

    def start(self) -> None:
        """Start all of it; return when both nodes are idle."""
        self._write_files()
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--uts", "--ipc"]
        command += ["--fork", "--kill-child"]
        command += ["sh", "-c", START, "sh", str(self.folder), str(self.tree)]
        with open(self.folder / "start.log", "wb") as log:
            self._first = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        until("the first process", lambda: (self.folder / "host" / "up").exists() or self._failed())
        number = Path(f"/proc/{self._first.pid}/task/{self._first.pid}/children").read_text().split()[0]
        self._enter = ["/usr/bin/nsenter", "-t", number, "-m", "-n", "-p", "-u", "-i", "-r", "-w"]
        self.start_munge()
        self.start_controller()
        for name in NODES:
            self.start_node(name)
        until(
            "both nodes",
            lambda: self.run("sinfo", "-h", "-n", ",".join(NODES), "-p", "main", "-o", "%T").stdout == "idle\n",
        )

    def _write_files(self) -> None:
        for name in ("memory", "root", "runs", "host", "files"):
            (self.folder / name).mkdir()
        (self.folder / "runs").chmod(0o1777)
        files = self.folder / "files"
        passwd = (self.tree / "etc" / "passwd").read_text()
        passwd += "".join(f"{name}:x:{uid}:{GROUP}::/tmp:/bin/sh\n" for name, uid in USERS.items())
        hosts = {"localhost": "127.0.0.1", "head": HEAD, **NODES}
        written = {
            "etc/passwd": passwd,
            "etc/hosts": "".join(f"{address} {name}\n" for name, address in hosts.items()),
            "etc/slurm/slurm.conf": self._conf,
            "etc/slurm/gres.conf": "Name=tape Count=2\n",
            # 22.05 wants to know of one; with what is configured none is used
            "etc/slurm/cgroup.conf": "CgroupAutomount=no\nCgroupPlugin=cgroup/v1\n",
        }
        for name, content in written.items():
            path = files / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        self._install_hook(files)

    @staticmethod
    def _install_hook(files: Path) -> None:
        """Do what role ``bait`` does, see its ``tasks/hook.yml`` and ``tasks/main.yml``."""
        library, scripts = ROOT / "plugins" / "module_utils" / "hook", ROOT / "roles" / "bait" / "files"
        copies = {path: f"usr/libexec/wnodes/hook/{path.name}" for path in library.glob("*.py")}
        copies[ROOT / "roles" / "guest" / "files" / "slurm-task-prolog"] = "etc/slurm/wnodes-task-prolog"
        copies[scripts / "wnodes-hook"] = "usr/libexec/wnodes/wnodes-hook"
        for kind in ("prolog", "epilog"):
            copies[scripts / f"slurm-{kind}"] = f"etc/slurm/{kind}.d/50-wnodes"
        for source, name in copies.items():
            target = files / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            target.chmod(0o644 if target.suffix else 0o755)

    def _failed(self) -> bool:
        assert self._first is not None
        if self._first.poll() is not None:
            raise AssertionError((self.folder / "start.log").read_text())
        return False

    def stop(self) -> None:
        """End all processes; what they mounted and what network they had goes with them."""
        if self._first is not None:
            # unshare dies, and by --kill-child everything below it
            self._first.kill()
            self._first.wait(30)
        for machine in self._machines.values():
            machine.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    # what runs there

    def run(
        self,
        *argv: str,
        input: str = "",
        user: str = "root",
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a program on the head, as a user, and return what it left, whatever its exit code."""
        become = [] if user == "root" else ["-S", str(USERS[user]), "-G", str(GROUP)]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **(env or {})}
        done = subprocess.run(
            [*self._enter, *become, *argv],
            input=input.encode("utf-8", "surrogateescape"),
            capture_output=True,
            timeout=timeout,
            env=environment,
            check=False,
        )
        said = (stream.decode("utf-8", "replace") for stream in (done.stdout, done.stderr))
        return Completed(tuple(argv), done.returncode, *said)

    def ask(self, *argv: str, **how: Any) -> str:
        """Run a program and return its output; fail with what it said if its exit code is not 0."""
        done = self.run(*argv, **how)
        assert done.rc == 0, done
        return done.stdout

    def runner(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> Completed:
        """Stand in for ``process.run``: the same on a machine of the cluster."""
        command = shlex.join(argv)
        try:
            done = self.run(*argv, timeout=timeout, input=input or "", env=env)
        except subprocess.TimeoutExpired:
            raise CommandFailed(object=argv[0], value=command, reason=f"did not end within {timeout:g} s") from None
        if check and done.rc != 0:
            said = (done.stderr.strip() or done.stdout.strip())[-2000:]
            raise CommandFailed(object=argv[0], value=command, reason=f"exit code {done.rc}: {said}")
        return done

    def start_munge(self) -> None:
        """Start the one munged that all machines use."""
        self.ask("runuser", "-u", "munge", "--", "munged")

    def stop_munge(self) -> None:
        """Take authentication away from everybody."""
        self._end("/run/munge/munged.pid")

    def start_controller(self) -> None:
        """Start slurmctld; return when it answers."""
        self.ask("slurmctld")
        until("slurmctld", lambda: self.run("scontrol", "ping").rc == 0)

    def stop_controller(self) -> None:
        """Stop slurmctld; it saves its state first."""
        self._end("/run/slurmctld.pid")

    def _end(self, pid_file: str) -> None:
        self.ask(
            "sh", "-c", f'pid=$(cat {pid_file}); kill "$pid"; while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done'
        )

    # machines

    def start_node(self, name: str) -> None:
        """Start one of the two nodes that are in slurm.conf."""
        self._machine(name, NODES[name], "exec slurmd -D")

    def start_vm(self, name: str, address: str, options: str) -> None:
        """Start a VM whose slurmd is told ``options``, quoted as in /etc/default/slurmd."""
        self._machine(name, address, f"{GUEST}exec slurmd -D {options}")

    def _machine(self, name: str, address: str, program: str) -> None:
        interface = f"v{address.rpartition('.')[2]}"
        command = [*self._enter, "unshare", "--net", "--mount", "--uts", "--propagation=private"]
        command += ["sh", "-c", MACHINE, "sh", name, address, interface, program]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        with open(self.folder / f"{name}.log", "ab") as log, self._lock:
            self._machines[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def kill_machine(self, name: str) -> None:
        """Cut a node's or VM's power. Nothing happens if there is none of that name."""
        with self._lock:
            machine = self._machines.pop(name, None)
        if machine is not None:
            pid_file = f"/host/{name}.pid"
            self.run("sh", "-c", f'kill -9 "$(cat {pid_file})" && rm {pid_file}')
            machine.wait(30)

    def machines(self) -> list[str]:
        """Return the names of the nodes and VMs that have power."""
        return sorted(name for name, machine in self._machines.items() if machine.poll() is None)

    def shared(self, machine: str) -> Path:
        """Return the folder that is /run/wnodes and /var/log/slurm on a machine."""
        folder = self.folder / "host" / machine
        folder.mkdir(exist_ok=True)
        return folder

    def spool(self, machine: str) -> Path:
        """Return the folder that is slurmd's own on a machine."""
        return self.shared(machine) / "spool"

    def log(self, machine: str) -> str:
        """Return what slurmd has logged on a machine, or slurmctld on ``head``."""
        if machine == "head":
            return self.ask("cat", "/var/log/slurm/slurmctld.log")
        return (self.shared(machine) / "slurmd.log").read_text(errors="replace")

    # jobs

    def submit(self, *options: str, user: str = "alice", script: str = SCRIPT, seconds: int = 0) -> str:
        """Submit a job and return its id. It writes down where it runs, and runs for ``seconds`` or until ``end``."""
        common = ("--parsable", "-D", "/tmp", "-o", "/dev/null")
        return self.ask("sbatch", *common, *options, user=user, input=script.replace("SECONDS", str(seconds))).strip()

    def end(self, job_id: str) -> None:
        """Let a job end that was submitted with many seconds."""
        (self.folder / "runs" / f"{job_id}.end").touch()

    def runs(self, job_id: str) -> list[str]:
        """Return the node of each run of a job that has begun, in order."""
        path = self.folder / "runs" / job_id
        return path.read_text().split() if path.exists() else []

    def squeue(self, job_id: str, column: str) -> str:
        """Return a column (a name of ``squeue -O``) of a job; empty when Slurm does not know it."""
        return self.run("squeue", "-h", "-a", "-t", "all", "-j", job_id, "-O", f"{column}:300").stdout.strip()

    def job(self, job_id: str) -> dict[str, str]:
        """Return the fields of ``scontrol show job``; empty when Slurm does not know it."""
        shown = self.run("scontrol", "-o", "show", "job", job_id).stdout
        return dict(re.findall(r"(?:^|\s)([A-Za-z/:]+)=(\S*)", shown))

    def node(self, name: str) -> dict[str, str]:
        """Return the fields of ``scontrol show node``; empty when there is none."""
        shown = self.run("scontrol", "-o", "show", "node", name).stdout
        return dict(re.findall(r"(?:^|\s)([A-Za-z]+)=(\S*)", shown))

    def reset(self, keep: Iterable[str] = NODES) -> None:
        """Cancel all jobs, take away all reservations and VMs, open the nodes."""
        kept = set(keep)
        self.run("scancel", *(f"--state={state}" for state in ("PENDING", "RUNNING")), "-u", ",".join((*USERS, "root")))
        for name in set(self._machines) - kept:
            self.kill_machine(name)
        until("the end of all jobs", self._no_jobs, 60)
        for name in re.findall(r"ReservationName=(\S+)", self.run("scontrol", "-o", "show", "reservation").stdout):
            self.run("scontrol", "delete", f"ReservationName={name}")
        for name in set(self.run("sinfo", "-h", "-a", "-N", "-o", "%N").stdout.split()) - kept:
            self.run("scontrol", "delete", f"NodeName={name}")
        for name in kept:
            if name not in self.machines():
                self.start_node(name)
            if self.node(name).get("State") != "IDLE":
                self.run("scontrol", "update", f"NodeName={name}", "State=RESUME")
            until(f"node {name}", lambda name=name: self.node(name).get("State") == "IDLE")

    def _no_jobs(self) -> bool:
        left = self.run("squeue", "-h", "-a", "-r", "-o", "%i").stdout.split()
        if left:
            # what hangs in COMPLETING with a VM that is gone
            for name in set(self.run("sinfo", "-h", "-a", "-N", "-t", "completing", "-o", "%N").stdout.split()) - set(
                NODES
            ):
                self.run("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=gone")
            self.run("scancel", *left)
        return not left
