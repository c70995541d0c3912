# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a slurmd has in its folder."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wnodes.lrms import slurm_daemon
from wnodes.lrms.slurm_daemon import Daemon, revoked

NOW = 1_795_861_000
#: the begin of what slurmd 22.05.8 wrote: jobs 107 and 114, both revoked
SEEN = bytes.fromhex(
    "00000002 0000006b 000000006b0aaa29 000000006b0aaa29 000000006b0aaaa1"
    "00000072 000000006b0aaa3e 000000006b0aaa29 000000006b0aaab6 00000000"
)


def state(*jobs: tuple[int, int], header: bytes = b"") -> bytes:
    entries = (struct.pack(">IQQQ", job, since, NOW - 1, NOW + 120) for job, since in jobs)
    return header + struct.pack(">I", len(jobs)) + b"".join(entries) + struct.pack(">I", 0)


def test_what_a_real_slurmd_wrote_is_read() -> None:
    assert revoked(SEEN) == {107: 0x6B0AAA29, 114: 0x6B0AAA3E}


@pytest.mark.parametrize("header", [b"", b"\x29\x00"])
def test_jobs_that_may_start_are_none_of_the_revoked(header: bytes) -> None:
    assert revoked(state((7, 0), (8, NOW), header=header)) == {8: NOW}


@given(st.binary(max_size=200))
def test_what_is_something_else_is_not_read_as_jobs(data: bytes) -> None:
    revoked(data)


class Slurmd:
    """Hears of the requeue of job 7 after some looks."""

    def __init__(self, folder: Path, looks: int) -> None:
        self.file, self.left = folder / "cred_state", looks
        self.file.write_bytes(state((7, NOW - 300)))

    def pause(self, _seconds: float) -> None:
        self.left -= 1
        if self.left == 0:
            self.file.write_bytes(state((7, NOW)))


def test_it_is_waited_for_until_slurmd_knows_that_a_job_must_not_start(tmp_path: Path) -> None:
    slurmd = Slurmd(tmp_path, looks=3)
    daemon = Daemon(lambda: str(tmp_path), "hv1", slurmd.pause)
    assert daemon.await_revoked("7", NOW) is True
    assert slurmd.left == 0


def test_it_is_not_waited_for_longer_than_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_daemon, "HEARS_S", 0.0)
    daemon = Daemon(lambda: str(tmp_path), "hv1", Slurmd(tmp_path, looks=99).pause)
    assert daemon.await_revoked("7", NOW) is False


@pytest.mark.parametrize("number", ["7", "x"])
def test_what_can_not_be_seen_is_not_waited_for(tmp_path: Path, number: str) -> None:
    daemon = Daemon(lambda: str(tmp_path), "hv1", lambda seconds: pytest.fail("it waits"))
    assert daemon.await_revoked(number, NOW) is None
