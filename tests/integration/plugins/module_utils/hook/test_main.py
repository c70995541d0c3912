# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program as role ``bait`` installs it: whatever its environment holds, the bait is asked in one line of JSON."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[5]
#: what Python, a shell or the C library reads from an environment, if they are let
HOSTILE = {
    **dict.fromkeys(("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYTHONPYCACHEPREFIX"), b"FOLDER"),
    **dict.fromkeys(("PATH", "HOME", "BASH_ENV", "ENV", "SLURM_JOB_NAME", "SPANK_X"), b"FOLDER"),
    "PYTHONINSPECT": b"1",
    "PYTHONBREAKPOINT": b"canary.touch",
    "PYTHONWARNINGS": b"error",
    "PYTHONIOENCODING": b"ascii",
    "IFS": b"/",
}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Return the installed program with a folder and a socket of its own."""
    shutil.copytree(ROOT / "plugins" / "module_utils" / "hook", tmp_path / "hook")
    main = tmp_path / "hook" / "main.py"
    main.write_text(main.read_text().replace("/run/wnodes/hook.sock", str(tmp_path / "hook.sock")))
    installed = tmp_path / "wnodes-hook"
    text = (ROOT / "roles" / "bait" / "files" / "wnodes-hook").read_text()
    installed.write_text(text.replace("/usr/libexec/wnodes", str(tmp_path)))
    installed.chmod(0o755)
    return installed


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """Return a folder of modules and programs that leave a file where they are run."""
    folder = tmp_path / "evil"
    folder.mkdir()
    for name in ("json", "socket", "os", "sitecustomize", "usercustomize", "hook", "canary"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')\n")
    for name in ("python3", "env", "sh", "squeue", "scontrol"):
        (folder / name).write_text(f"#!/bin/sh\ntouch {tmp_path / 'canary'}\n")
        (folder / name).chmod(0o755)
    return folder


def asked(folder: Path, program: Path, environment: dict[str, bytes]) -> tuple[int, bytes]:
    """Run the prolog with a bait that lets the job run; return the exit code and what the bait was asked."""
    questions: list[bytes] = []

    def answer(listener: socket.socket) -> None:
        connection, _peer = listener.accept()
        with connection, connection.makefile("rb") as stream:
            questions.append(stream.readline())
            connection.sendall(b'{"action": "run"}\n')

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.settimeout(30)
        listener.bind(str(folder / "hook.sock"))
        listener.listen(1)
        bait = threading.Thread(target=answer, args=(listener,))
        bait.start()
        names = {name.encode(): value for name, value in environment.items()}
        done = subprocess.run([program, "slurm", "prolog"], env=names, timeout=60, check=False, capture_output=True)
        bait.join(30)
    assert done.stderr == b""
    return done.returncode, questions[0]


@pytest.mark.parametrize("locale", [b"", b"C", b"C.UTF-8", b"POSIX", b"\xff/../x"])
def test_bytes_of_any_kind_are_asked_about_as_text(tmp_path: Path, program: Path, locale: bytes) -> None:
    job = {
        "SLURM_JOB_ID": b"7",
        "SLURM_JOB_CONSTRAINTS": b"vm_a\n",
        "SLURM_JOB_COMMENT": b"wnodes:\xff=1\x01\xed\xa0\x80",
    }
    code, question = asked(
        tmp_path, program, {**job, "LC_ALL": locale, "LANG": locale, "SLURM_JOB_USER": b"DOM\\al\xe9"}
    )
    assert code == 0
    assert json.loads(question.decode("ascii"))["environment"] == {
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_USER": "DOM\\al?",
        "SLURM_JOB_CONSTRAINTS": "vm_a\n",
        "SLURM_JOB_COMMENT": "wnodes:?=1\x01???",
    }


def test_nothing_of_a_user_s_is_run(tmp_path: Path, program: Path, evil: Path) -> None:
    hostile = {name: value.replace(b"FOLDER", os.fsencode(evil)) for name, value in HOSTILE.items()}
    code, question = asked(tmp_path, program, {**hostile, "SLURM_JOB_ID": b"7"})
    assert code == 0
    assert json.loads(question) == {"event": "prolog", "job_id": "7", "environment": {"SLURM_JOB_ID": "7"}}
    assert not (tmp_path / "canary").exists()
