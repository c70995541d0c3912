# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command that the documentation tells its readers to type is typed here, where they would type it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.documents import DOCS, Command, commands
from tests.e2e import lab

#: commands that are not run, and why
NOT_RUN = {
    "make demo": "test_demo.py runs it",
    "make lab-down": "it takes away what this runs on",
    "make test": "it runs this",
    "promtool test rules tests/promtool/wnodes.rules.test.yml": "tests/unit/test_monitoring.py evaluates that file",
    "wnodes images import /srv/experiment.qcow2": "half a minute of libguestfs; tests of images do it",
    "wnodes forget": "test_lifecycle.py takes a node away",
    "wnodes backup": "test_lifecycle.py does it",
    "wnodes restore": "test_lifecycle.py does it",
    "systemctl stop wnodes-nameserver": "test_lifecycle.py does it",
    "systemctl start wnodes-nameserver": "test_lifecycle.py does it",
    "wnodes images retire": "its tag is an example; test_images.py does it",
    "wnodes jobs --watch": "it never ends",
    "wnodes drain": "test_admin.py does it",
    "wnodes undrain": "test_admin.py does it",
    "wnodes console": "it needs a VM; test_admin.py does it",
    "wnodes rules check": "it is about a file of the reader's",
    "wnodes rules explain": "its partition is an example",
    "wnodes doctor --json | jq": "jq is no part of the lab",
}
#: the signer's key, where the builder is a machine of the site
SIGNER = "/etc/wnodes/signer"
#: the example of the documentation → what the lab has in its place
IN_THE_LAB = {
    "inventory.yml": str(lab.REPO / "playbooks" / "inventory" / "lab.yml"),
    "$PWD/worker.yml": str(lab.REPO / "roles" / "images" / "files" / "recipes" / "worker_debian12.yml"),
    "analysis_debian12_x86_64": lab.TAG,
    "'node[01-04]'": "'hv[1-2]'",
    "node[01-04,7]": "hv[1-2]",
    "node07": "hv2",
}
#: where the lab's controller has what machines of a site have elsewhere
ON_CONTROLLER = {"/shared/images": str(lab.PUBLISHED), SIGNER: str(lab.LAB / "signer")}
#: first words of what is typed on the controller, and of what is typed on a node; all else is for the head node
CONTROLLER = ("make", "ansible", "ansible-doc", "ansible-galaxy", "ansible-playbook")
NODE = ("/opt/wnodes/bin/python", "journalctl", "ls", "systemctl")
#: where the documentation says "in a published folder"
IN_FOLDER = {"openssl": f"/shared/images/{lab.TAG}", "sha256sum": f"/shared/images/{lab.TAG}"}
#: what commands of the documentation write, and would not write over
BUNDLES = "/root/*.tar.gz"
JOB = "#!/bin/sh\nhostname\n"
AT_ONCE = 3


def listed(text: str) -> str:
    """Return the entry of NOT_RUN for a command; empty if it is run."""
    return next((start for start in NOT_RUN if text == start or text.startswith(start + " ")), "")


ALL = [command for doc in DOCS for command in commands(doc)]
#: once each, but for those of which pages show different answers
RUN = list(
    {(command.root, command.text, command.answer): command for command in ALL if not listed(command.text)}.values()
)


def of(*programs: str) -> list[Command]:
    return [command for command in RUN if command.text.split()[0] in programs]


@pytest.fixture(scope="module")
def real(site: None) -> Iterator[Callable[[Command], Command]]:
    """Put the lab's own names into a command, and what commands need on its machines."""
    digest = (lab.PUBLISHED / lab.TAG).resolve().name
    values = {**IN_THE_LAB, "4711": held_job(), "<digest>": digest}

    def replaced(command: Command) -> Command:
        lines = [command.text, *command.answer]
        for example, value in values.items():
            lines = [line.replace(example, value) for line in lines]
        return replace(command, text=lines[0], answer=tuple(lines[1:]))

    try:
        lab.ssh("head", "runuser", "-u", "alice", "--", "tee", "/home/alice/job.sh", stdin=JOB)
        lab.sh("head", f"rm -f {BUNDLES}; install -d -m 700 {SIGNER}")
        for name in ("signer.key", "signer.crt"):
            content = (lab.LAB / "signer" / name).read_text()
            lab.sh("head", f"umask 077 && cat > {SIGNER}/{name}", stdin=content)
        yield replaced
    finally:
        lab.sh("head", f"rm -rf {SIGNER} {BUNDLES} /home/alice/job.sh /home/alice/signer.pem")


def held_job() -> str:
    """Return a job that Slurm and bait know for as long as it is needed, since it can't run."""
    number = lab.submit(JOB, "-C", lab.FEATURE, "--comment=wnodes:scratch=9000T")
    lab.over(number)
    return number


def wrong(command: Command, run: Callable[[str], str]) -> str:
    """Return what is wrong with what a command does; empty if nothing is."""
    try:
        said = run(command.text)
    except lab.Failed as error:
        return f"{command.page}: {error}"
    for line in command.answer:
        pattern = r"\s+".join(re.escape(word) for word in line.split())
        if not re.search(re.sub(r"(\\s\+)?…(\\s\+)?", ".*", pattern), said):
            return f"{command.page}: {command.text}: no line like {line!r} in:\n{said}"
    return ""


def on_a_machine(command: Command) -> Callable[[str], str]:
    """Return what types a command where it belongs, as who is to type it."""
    first = command.text.split()[0]
    folder = IN_FOLDER.get(first, "/root" if command.root else "/home/alice")

    def run(text: str) -> str:
        script = f"cd {folder} && {{ {text}; }} 2>&1"
        if command.root:
            return lab.sh("hv1" if first in NODE else "head", script)
        return lab.as_user("alice", "sh", "-c", script)

    return run


def test_commands_for_users_and_administrators_work(real: Callable[[Command], Command]) -> None:
    here = [command for command in RUN if command.text.split()[0] not in CONTROLLER]
    found = [wrong(real(command), on_a_machine(command)) for command in here]
    assert list(filter(None, found)) == []


def test_playbooks_are_found_with_their_variables(real: Callable[[Command], Command]) -> None:
    def listed_tasks(command: Command) -> str:
        return wrong(real(command), lambda text: lab.controller(f"{text} --list-tasks"))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert list(filter(None, pool.map(listed_tasks, of("ansible-playbook")))) == []


def test_other_commands_of_the_controller_work(real: Callable[[Command], Command], tmp_path: Path) -> None:
    tree = tmp_path / "wnodes.farm"
    shutil.copytree(lab.REPO, tree, ignore=shutil.ignore_patterns(".*", "__pycache__"), symlinks=True)

    def run(text: str) -> str:
        if text.startswith("ansible-galaxy"):
            return lab.controller(f"cd {tree} && export ANSIBLE_COLLECTIONS_PATH={tmp_path} && {text}")
        for there, here in ON_CONTROLLER.items():
            text = text if text.startswith("make") else text.replace(there, here)
        return lab.controller(text)

    others = of(*(program for program in CONTROLLER if program != "ansible-playbook"))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda command: wrong(real(command), run), others)
    assert list(filter(None, found)) == []


def test_what_is_not_run_is_still_in_the_documentation() -> None:
    assert set(NOT_RUN) - {listed(command.text) for command in ALL} == set()
