# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long calls get the time they need; wnodes_services/test_hypervisor_main.py has the other end."""

from __future__ import annotations

from typing import Any

from wnodes.hypervisor.client import SETUP_S, HypervisorClient
from wnodes.jsonhttp import JsonClient
from wnodes.load import MOST
from wnodes.model.vm import GuestSetup


class Recorder(JsonClient):
    def __init__(self) -> None:
        self.calls: list[tuple[str, str, float]] = []

    def call(self, method: str, target: str, body: Any = None, *, extra_s: float = 0.0) -> Any:
        self.calls.append((method, target, extra_s))
        return []


def test_a_long_poll_waits_as_long_as_it_may() -> None:
    recorder = Recorder()
    assert HypervisorClient(recorder).events(3, 25.0) == ()
    assert recorder.calls == [("GET", "/v1/events?after=3&timeout_s=25", 25.0)]


def test_a_setup_is_given_time() -> None:
    recorder = Recorder()
    HypervisorClient(recorder).setup("a/b", GuestSetup())
    assert recorder.calls == [("POST", "/v1/vms/a%2Fb/setup", SETUP_S * MOST)]
