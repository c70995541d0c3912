# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs that wait for jobs on one node of the lab: taken, offered, given up for others, and never handed on used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e import lab
from wnodes.model.resources import Overheads, Resources

NODE = "hv1"
BAIT = "/etc/wnodes/bait.yml"
ONE = {"tag": lab.TAG, "cpus": 1, "memory_mib": 512, "waiting": 1}
CHARGE = Overheads().charge(Resources(1, 512)).memory_mib
FACTS = "#!/bin/sh\necho host=$(hostname) machine=$(cat /etc/machine-id)\n"
ON_NODE = ("-C", lab.FEATURE, "-x", "hv2")

CONFIGURE = """
import json, os, shutil, sys, yaml
path, pool = sys.argv[1], json.loads(sys.argv[2])
kept = path + ".e2e"
if pool:
    if not os.path.exists(kept):
        shutil.copy2(path, kept)
    with open(path) as file:
        settings = yaml.safe_load(file)
    with open(path, "w") as file:
        yaml.safe_dump({**settings, "pool": pool}, file)
elif os.path.exists(kept):
    os.replace(kept, path)
"""


def configure(pool: dict[str, Any]) -> None:
    lab.ssh(NODE, "/opt/wnodes/bin/python", "-", BAIT, json.dumps(pool), stdin=CONFIGURE)
    lab.ssh(NODE, "systemctl", "restart", "wnodes-bait.service")


@contextmanager
def pool(**settings: Any) -> Iterator[str]:
    """Let VMs wait on the node; give the host name of the first one that does, if some shall."""
    try:
        configure({"calm_s": 1.0, **settings})
        yield waiting() if "flavours" in settings else ""
    finally:
        configure({})
        lab.until("no VM to wait", lambda: not counted("target", "waiting", "coming", "used"), lab.CLEAN_S)


def counted(*what: str) -> int:
    return sum(kind[key] for kind in lab.service_status(NODE, "bait").get("pool", []) for key in what)


def hosts() -> list[str]:
    """Return the batch system's names of VMs."""
    shown = lab.ssh("head", "sinfo", "-h", "-N", "-a", "-o", "%N %T")
    return sorted({line.split()[0] for line in shown.splitlines() if line.startswith("vwn-")})


def waiting(number: int = 1) -> str:
    lab.until(f"{number} VMs to wait", lambda: counted("waiting") >= number, lab.START_S)
    return hosts()[0]


def answers(service: str) -> bool:
    return bool(lab.service_status(NODE, service).get("ok"))


@pytest.mark.every_release
def test_a_job_takes_the_vm_that_waits_and_another_one_waits_for_the_next() -> None:
    with pool(flavours=[ONE]) as first:
        assert lab.allocated_mib(NODE) == 0, "a VM that waits is off the books"
        number = lab.submit(FACTS, *ON_NODE)
        job = lab.over(number)
        assert (job["path"], job["host"], job["outcome"]) == ("pool", first, "FINISHED")
        assert {"hook", "hold", "pin", "second_dispatch", "cleanup"} <= set(job["phases"])
        assert not {"lease", "image", "vm_start", "personalise", "join"} & set(job["phases"])
        before = lab.facts(number)
        assert before["host"] == first
        assert waiting() != first
        number = lab.submit(FACTS, *ON_NODE)
        assert lab.over(number)["path"] == "pool"
        assert lab.facts(number)["machine"] != before["machine"]


def test_the_books_carry_a_vm_that_was_taken_while_its_job_runs() -> None:
    with pool(flavours=[ONE]):
        number = lab.submit("#!/bin/sh\nsleep 600\n", *ON_NODE)
        lab.in_state(number, "RUNNING")
        # the job that makes Slurm look for work is there for a moment
        lab.until("the books to be right", lambda: lab.allocated_mib(NODE) == CHARGE, lab.CLEAN_S)
        lab.ssh("head", "scancel", number)
        lab.over(number)


def test_a_vm_that_waits_outlives_its_bait_and_its_hypervisor() -> None:
    with pool(flavours=[ONE]) as first:
        services = ("bait", "hypervisor")
        lab.ssh(NODE, "systemctl", "kill", "-s", "KILL", *(f"wnodes-{service}" for service in services))
        # the hypervisor first: without it the job gets another VM
        for service in reversed(services):
            lab.until(f"the {service} to answer", lambda service=service: answers(service), lab.CLEAN_S)
        number = lab.submit(FACTS, *ON_NODE)
        assert lab.over(number)["host"] == first


def test_a_real_job_gets_the_room_of_vms_that_wait() -> None:
    with pool(flavours=[ONE]):
        number = lab.submit("#!/bin/sh\nsleep 600\n", "-w", NODE, "--mem=5900", "-c", "4")
        lab.until("the real job to run", lambda: lab.native(number, "State") == "RUNNING", lab.CLEAN_S)
        lab.until("the VM to go", lambda: not hosts(), lab.CLEAN_S)
        lab.ssh("head", "scancel", number)
        waiting()


def test_a_node_that_is_drained_keeps_no_vm_waiting() -> None:
    with pool(flavours=[ONE]):
        lab.ssh("head", "scontrol", "update", f"NodeName={NODE}", "State=DRAIN", "Reason=test")
        try:
            lab.until("the VM to go", lambda: not hosts(), lab.CLEAN_S)
        finally:
            lab.ssh("head", "scontrol", "update", f"NodeName={NODE}", "State=RESUME")
        waiting()


@pytest.mark.every_release
def test_the_batch_system_sends_a_job_straight_to_a_vm_that_is_offered() -> None:
    with pool(flavours=[ONE], offer=True) as first:
        lab.until("the offered VM to be on the books", lambda: lab.allocated_mib(NODE) == CHARGE, lab.CLEAN_S)
        lab.ssh("head", "rm", "-f", lab.GO)
        number = lab.submit(FACTS + lab.UNTIL_TOLD, "-C", lab.FEATURE)
        lab.until("the job to run", lambda: lab.native(number, "State") == "RUNNING", lab.CLEAN_S)
        job = lab.in_state(number, "RUNNING")
        assert (job["path"], job["host"]) == ("direct", first)
        lab.until("the VM to be closed", lambda: "drain" in lab.ssh("head", "sinfo", "-hn", first, "-o%T"), lab.CLEAN_S)
        lab.ssh("head", "touch", lab.GO)
        job = lab.over(number)
        assert (job["outcome"], job["exit_code"]) == ("FINISHED", 0)
        assert lab.facts(number)["host"] == first
        assert waiting() != first
        # a real job ends the offer, not a running job
        number = lab.submit("#!/bin/sh\nsleep 600\n", "-w", NODE, "--mem=5900", "-c", "4")
        lab.until("the real job to run", lambda: lab.native(number, "State") == "RUNNING", lab.CLEAN_S)
        lab.until("the VM to go", lambda: not hosts(), lab.CLEAN_S)
        lab.ssh("head", "scancel", number)


def test_a_site_may_let_a_user_but_nobody_else_use_a_vm_again() -> None:
    with pool(reuse_s=600.0, reuse_jobs=3):
        first = lab.submit(FACTS, *ON_NODE)
        host = lab.until("its VM to wait", lambda: counted("used") and lab.virtual(first)["host"], lab.START_S)
        others = lab.submit(FACTS, *ON_NODE, user="bob")
        assert lab.in_state(others, "CLOSED", "RUNNING", "FINISHED")["host"] != host
        again = lab.submit(FACTS, *ON_NODE)
        job = lab.in_state(again, "CLOSED")
        assert (job["path"], job["host"]) == ("reuse", host)


MARK = "WNMARK42X"
PLANT = r"""#!/bin/sh
# root in the guest, with everything it can think of
mark=WNMARK$((40 + 2))X
for place in / /etc /root /usr/bin /var/tmp /tmp /run /dev/shm /scratch /boot /var/lib/extrausers; do
    echo $mark > $place/$mark 2> /dev/null
done
mkdir -p /root/.ssh && echo "ssh-ed25519 AAAA$mark" >> /root/.ssh/authorized_keys
mkdir -p /etc/ssh && echo $mark > /etc/ssh/ssh_host_ed25519_key
printf '[Service]\nExecStart=/bin/sleep infinity\n' > /etc/systemd/system/$mark.service
systemctl daemon-reload && systemctl start $mark.service
hostname $mark
ip neigh replace 10.77.0.250 lladdr 02:00:00:00:00:99 dev "$(ls /sys/class/net | grep -v lo | head -1)"
mount -t tmpfs $mark /mnt && echo $mark > /mnt/$mark
dd if=/dev/zero bs=1M count=64 2> /dev/null | tr '\0' "$mark" > /dev/shm/memory
(setsid perl -e "\$m = \"$mark\" x 1000000; sleep 600" > /dev/null 2>&1 &)
(setsid sh -c "while :; do echo $mark; done > /dev/virtio-ports/org.wnodes.0" > /dev/null 2>&1 &)
echo "planted=$(ls / | grep -c $mark) machine=$(cat /etc/machine-id)"
"""

SEARCH = r"""#!/bin/sh
# by a pattern that does not match itself; what is shared by the site is not the VM's
found() { [ -z "$2" ] || echo "found=$1:$(echo "$2" | head -3 | tr ' \n' '__')"; }
found files "$(find / -xdev -name '*[W]NMARK42X*' 2> /dev/null)"
found tmpfs "$(find /run /dev /tmp /mnt -name '*[W]NMARK42X*' 2> /dev/null)"
found contents "$(grep -rls '[W]NMARK42X' /etc /root /var /run /boot /dev/shm 2> /dev/null)"
found processes "$(ps axww -o args | grep '[W]NMARK42X')"
found units "$(systemctl list-units --all --plain --no-legend '*MARK42X*')"
found hostname "$(hostname | grep MARK42X)"
found neighbours "$(ip neigh | grep 02:00:00:00:00:99)"
found mounts "$(grep '[W]NMARK42X' /proc/mounts)"
echo "done=yes host=$(hostname) machine=$(cat /etc/machine-id)"
"""


def as_root(script: str) -> dict[str, str]:
    """Run a job of root's in a VM of the pool; return the ``key=value`` words it wrote."""
    path = "/shared/e2e.root"
    number = lab.ssh("head", "sbatch", "--parsable", "-D", "/", "-o", path, *ON_NODE, stdin=script).strip()
    try:
        job = lab.over(number, 2 * lab.START_S)
        assert job["path"] == "pool"
        text = lab.ssh("head", "cat", path)
    finally:
        lab.ssh("head", "scancel", number)
        lab.ssh("head", "rm", "-f", path)
    return dict(word.split("=", 1) for word in text.split() if "=" in word)


def test_what_root_in_one_vm_leaves_is_nowhere_in_the_next() -> None:
    with pool(flavours=[ONE]):
        planted = as_root(PLANT)
        assert planted["planted"] == "1"
        next_one = waiting()
        dump = f"virsh -q dump --memory-only --live {next_one} /var/tmp/{next_one} >&2"
        search = f"grep -ac {MARK} /var/tmp/{next_one}; rm -f /var/tmp/{next_one}"
        assert lab.sh(NODE, f"{dump}; {search}", limit_s=120).strip() == "0"
        seen = as_root(SEARCH)
        assert seen.get("done") == "yes", seen
        assert "found" not in seen, seen
        assert seen["machine"] != planted["machine"]
