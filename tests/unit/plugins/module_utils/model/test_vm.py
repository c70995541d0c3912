# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels are there to be read, and change nothing else."""

from __future__ import annotations

from dataclasses import replace

from wnodes.model.codec import decode, encode
from wnodes.model.resources import Resources
from wnodes.model.states import VmState
from wnodes.model.vm import Vm, VmRequest

REQUEST = VmRequest("r1", "alice", "worker_debian12_x86_64", Resources(1, 512), labels={"job": "7"})


def test_labels_are_kept_and_are_no_wish() -> None:
    assert decode(VmRequest, encode(REQUEST)).labels == {"job": "7"}
    assert replace(REQUEST, labels={}) == REQUEST


def test_a_record_from_before_there_were_labels_is_read() -> None:
    record = encode(Vm(REQUEST, VmState.READY))
    del record["request"]["labels"]
    assert decode(Vm, record).request.labels == {}
