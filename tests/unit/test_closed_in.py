# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The walls around the unit tests stand, and the two names of the library are one."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time

import pytest


def _fork() -> None:
    os.fork()  # looked up at call time, when the guard is in place


@pytest.mark.parametrize(
    "escape",
    [
        pytest.param(lambda: subprocess.run(["true"], check=False), id="subprocess"),
        pytest.param(lambda: os.system("true"), id="system"),
        pytest.param(_fork, id="fork"),
        pytest.param(lambda: socket.create_connection(("127.0.0.1", 9)), id="tcp"),
        pytest.param(lambda: socket.socket(socket.AF_UNIX), id="unix"),
        pytest.param(lambda: time.sleep(0), id="sleep"),
    ],
)
def test_a_unit_test_can_not_get_out(escape) -> None:
    with pytest.raises(BaseException, match="a unit test must not"):
        escape()


def test_event_loops_still_work() -> None:
    async def answer() -> int:
        return 42

    assert asyncio.run(answer()) == 42


def test_both_names_of_the_library_give_the_same_classes() -> None:
    from ansible_collections.wnodes.farm.plugins.module_utils.model import errors as for_ansible
    from wnodes.model import errors as on_a_node

    assert for_ansible is on_a_node
    assert for_ansible.__spec__.name == "wnodes.model.errors"
