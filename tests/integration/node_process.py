# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's bait or hypervisor as a process of its own, with real certificates and sockets over fakes of the rest.

``node_process.py ROLE FOLDER PORT NAMESERVER-PORT``: FOLDER/pki has the certificates, FOLDER/<role>.sock is the socket,
FOLDER/hook.sock the one that hooks ask the bait at.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path

from wnodes.bait.config import BaitConfig
from wnodes.bait.drain import Order, is_lifted
from wnodes.bait.hooksocket import HookSocket
from wnodes.bait.pool import is_over
from wnodes.bait.service import Bait
from wnodes.directory.base import Heartbeat
from wnodes.engine.journal import Journal
from wnodes.engine.pulse import Pulse
from wnodes.hypervisor.fake import FakeHypervisor
from wnodes.lrms.fake import FakeLrms
from wnodes.lrms.slurm_commands import SlurmConfig
from wnodes.model.codec import encode
from wnodes.model.job import Job
from wnodes.model.pool import PoolVm
from wnodes.model.resources import Resources
from wnodes.model.states import JobState
from wnodes.model.vm import VmRequest
from wnodes.nameserver.client import NameserverClient
from wnodes.nameserver.config import NameserverAccess
from wnodes_services import bait_main, hypervisor_main
from wnodes_services.server import Program, Tls, local_sockets, serve, unix_socket

#: what the VM ``vwn-100`` has written to its console
CONSOLE = b"\x1b[2Jbooting\r\nlogin: "


def bait(folder: Path, manage: str, access: NameserverAccess) -> Program:
    config = BaitConfig("hv1", SlurmConfig("hv1"), access, heartbeat_s=0.2, manage_listen=manage)
    jobs = Journal(str(folder / "jobs.sqlite"), Job, lambda job: job.state is JobState.CLOSED)
    pool = Journal(str(folder / "pool.sqlite"), PoolVm, is_over)
    drains = Journal(str(folder / "drain.sqlite"), Order, is_lifted)
    directory = NameserverClient.connect(access, "bait")
    made = Bait(config, FakeLrms(), FakeHypervisor(), directory, jobs, pool, drains)
    pulse, stop = Pulse(), threading.Event()
    hooks = HookSocket(unix_socket(str(folder / "hook.sock"), 0o600), made.dispatch, pulse.loop("hook", 30.0))

    def start() -> None:
        made.start()
        threading.Thread(target=hooks.serve, args=(stop,), name="hooks", daemon=True).start()

    return Program(bait_main.application(made, pulse=pulse), list, start, made.stop, pulse=pulse)


def hypervisor(folder: Path, manage: str, access: NameserverAccess) -> Program:
    fake = FakeHypervisor()
    vm = fake.create(VmRequest("r1", "alice", "worker_debian12_x86_64", Resources(1, 512)))
    fake.consoles["r1"] = CONSOLE
    directory = NameserverClient.connect(access, "hypervisor")

    def start() -> None:
        directory.beat(Heartbeat("hypervisor", "hv1", 0.0, {"ok": True, "vms": [encode(vm)], "manage": manage}))

    return Program(hypervisor_main.application(fake), list, start)


def main() -> None:
    role, place, port, nameserver = sys.argv[1:]
    folder, manage = Path(place), f"127.0.0.1:{port}"
    access = NameserverAccess(f"https://127.0.0.1:{nameserver}", str(folder / "pki"))
    program = {"bait": bait, "hypervisor": hypervisor}[role](folder, manage, access)
    program.listen = lambda: local_sockets(str(folder / f"{role}.sock"))
    program.manage, program.tls = manage, Tls.of(role, str(folder / "pki"))
    asyncio.run(serve(program))
    os._exit(0)


if __name__ == "__main__":
    main()
