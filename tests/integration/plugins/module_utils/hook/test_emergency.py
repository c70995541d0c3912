# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hook's emergency with real processes: it ends in time however slow Slurm is; a real Slurm does as told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.libvirt_fixture import until
from tests.integration.private_slurm import NODES, PrivateSlurm
from tests.integration.slurm_bait import VIRTUAL, VM, baited, stream
from wnodes.hook import emergency
from wnodes.model.states import JobState

ROW = "\x1f".join(("7", "7", "RUNNING", "hv1", "1", "0", "N/A", ""))
#: written down with the environment's names, then slow, then true
TOOL = """#!/bin/sh
echo "${0##*/} $*" >> LOG
{ env | sed 's/=.*//'; } >> NAMES
sleep SECONDS
case $0 in
    */squeue) printf '%s\\n' 'ROW' ;;
esac
case $* in
    'show -o node hv1') echo 'NodeName=hv1 State=MIXED Reason=x' ;;
esac
"""


class Tools:
    """Stand-ins for Slurm's commands, each of which takes its time, and what they were told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log, self.names = folder, folder / "log", folder / "names"
        self.adopt = folder / "adopt"

    def take(self, seconds: float) -> None:
        """Let each command take ``seconds``; a shell waits for a process of its own, as in a site's wrapper."""
        values = {"LOG": self.log, "NAMES": self.names, "SECONDS": seconds, "ROW": ROW}
        text = TOOL
        for name, value in values.items():
            text = text.replace(name, str(value))
        for name in ("squeue", "scontrol"):
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o755)

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    made = Tools(tmp_path)
    monkeypatch.setattr(emergency, "TOOL_DIRS", (str(tmp_path),))
    monkeypatch.setattr(emergency, "ADOPT_DIR", str(made.adopt))
    return made


def test_a_slow_slurm_has_time_for_all_of_it(tools: Tools) -> None:
    tools.take(0.2)
    assert emergency.put_back("7", "hv1")
    assert tools.calls()[1:] == [
        "scontrol update JobId=7 Requeue=1",
        "scontrol requeuehold 7",
        "scontrol show -o node hv1",
        f"scontrol update NodeName=hv1 State=DRAIN Reason={emergency.CLOSED}",
    ]
    assert (tools.adopt / "7").read_text() == "Requeue=0\n"


def test_a_slurm_that_hangs_is_given_up_in_time(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    tools.take(20)
    for name, limit_s in (("LIMIT_S", 2.0), ("CALL_LIMIT_S", 0.7), ("RESERVE_S", 0.5)):
        monkeypatch.setattr(emergency, name, limit_s)
    begun = time.monotonic()
    assert not emergency.put_back("7", "hv1")
    assert time.monotonic() - begun < 10  # of a busy machine; each command alone would take 20
    assert (tools.adopt / "7").read_text() == "Failed=1\n"


def test_nothing_of_a_user_s_is_in_the_commands_environment(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    tools.take(0)
    for name in ("SPANK_X", "SLURM_JOB_COMMENT", "PYTHONPATH", "LC_ALL", "BASH_ENV", "SQUEUE_FORMAT", "SLURM_CLUSTERS"):
        monkeypatch.setenv(name, "/tmp/evil\n\udcff")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    assert emergency.put_back("7", "hv1")
    assert set(tools.names.read_text().split()) <= {"PATH", "SLURM_CONF", "PWD", "_", "SHLVL", "OLDPWD"}


# on a real Slurm: hv1 has the installed hook, and no bait


@pytest.fixture
def alone(slurm: PrivateSlurm) -> Iterator[PrivateSlurm]:
    """Return the private Slurm, whose nodes have an image and no bait."""
    adopt = slurm.shared("hv1") / "adopt"
    for name in NODES:
        slurm.ask("scontrol", "update", f"NodeName={name}", f"AvailableFeatures=bait,{VM}", f"ActiveFeatures=bait,{VM}")
    for word in adopt.iterdir():
        word.unlink()
    yield slurm
    for word in adopt.iterdir():
        word.unlink()


def until_closed(slurm: PrivateSlurm) -> None:
    until("hv1 closed", lambda: "DRAIN" in slurm.node("hv1").get("State", ""))
    assert emergency.CLOSED in slurm.ask("scontrol", "-o", "show", "node", "hv1")


def test_without_a_bait_a_job_is_held_and_with_one_it_goes_to_its_vm_as_its_owner_wanted(alone: PrivateSlurm) -> None:
    job = alone.submit(*VIRTUAL, "--no-requeue")
    until_closed(alone)
    assert alone.job(job)["Requeue"] == "1"
    assert [word.read_text() for word in (alone.shared("hv1") / "adopt").iterdir()] == ["Requeue=0\n"]
    # an idle Slurm looks once a minute for jobs whose time has come
    with stream(alone, "hv2"), baited(alone) as site:
        record = site.until_in(job, JobState.CLOSED, limit_s=60)
        assert alone.runs(job) == [record.host]
        assert alone.job(job)["Requeue"] == "0"
        until("hv1 open", lambda: alone.node("hv1")["State"] == "IDLE")


@pytest.mark.parametrize("how", [("srun",), ("salloc",)])
def test_whoever_waits_at_a_terminal_is_told_why(alone: PrivateSlurm, how: tuple[str, ...]) -> None:
    done = alone.run(*how, *VIRTUAL, "hostname", user="alice")
    assert done.rc == 1
    assert done.stdout == ""
    assert f"{how[0]}: {emergency.NO_TERMINAL}\n" in done.stderr
    until_closed(alone)


def test_all_parts_of_a_heterogeneous_job_are_cancelled(alone: PrivateSlurm) -> None:
    job = alone.submit(*VIRTUAL, ":", "-w", "hv2", "--mem=100")
    until_closed(alone)
    until("its end", lambda: alone.run("squeue", "-h", "-a", "-j", job, "-o", "%i").stdout == "")
    assert alone.runs(job) == []
    assert "DRAIN" not in alone.node("hv2")["State"]


def test_a_job_of_two_nodes_is_put_back_once(alone: PrivateSlurm) -> None:
    job = alone.submit("-N2", "-C", VM, "--mem=100")
    # the node whose hook was first: the other's finds the job gone
    until("a node closed", lambda: any("DRAIN" in alone.node(name).get("State", "") for name in NODES))
    until("held", lambda: alone.job(job).get("Priority") == "0" and alone.job(job)["JobState"] == "PENDING")
    assert alone.runs(job) == []


@pytest.mark.parametrize("told", [True, False])
def test_a_node_is_opened_again_only_where_the_hook_says_that_it_failed(alone: PrivateSlurm, told: bool) -> None:
    script = "/etc/slurm/prolog.d/99-fails"
    alone.ask("sh", "-c", f"printf '#!/bin/sh\\nexit 1\\n' > {script}; chmod 755 {script}")
    try:
        job = alone.submit("-w", "hv1")
        until("Slurm's drain", lambda: "DRAIN" in alone.node("hv1").get("State", ""))
    finally:
        alone.ask("rm", script)
    if told:
        (alone.shared("hv1") / "adopt" / job).write_text("Failed=1\n")
    with baited(alone) as site:
        if told:
            until("hv1 open", lambda: alone.node("hv1")["State"] == "IDLE")
            assert site.until_runs(job) == ["hv1"]
        else:
            until("a heartbeat", lambda: site.nameserver.last is not None)
            assert "Reason=Prolog error" in alone.ask("scontrol", "-o", "show", "node", "hv1")
            assert "DRAIN" in alone.node("hv1")["State"]
