# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events are numbered, kept for a while, and waited for."""

from __future__ import annotations

import threading

from wnodes.hypervisor.events import KEPT, EventLog


def test_a_reader_gets_what_came_after() -> None:
    log = EventLog()
    for state in ("PLANNED", "IMAGE", "READY"):
        log.emit("a", "state", {"state": state})
    assert [event.seq for event in log.after(1, 0)] == [2, 3]
    assert log.after(3, 0) == ()


def test_a_reader_from_before_a_restart_gets_all() -> None:
    log = EventLog()
    assert log.after(77, 0) == ()
    log.emit("a", "state", {})
    assert [event.seq for event in log.after(77, 0)] == [1]


def test_a_waiting_reader_is_woken() -> None:
    log, got = EventLog(), []
    reader = threading.Thread(target=lambda: got.extend(log.after(0, 10)))
    reader.start()
    log.emit("a", "state", {})
    reader.join(5)
    assert [event.seq for event in got] == [1]


def test_a_flood_costs_no_memory() -> None:
    log = EventLog()
    for _ in range(KEPT + 5):
        log.emit("a", "guest", {})
    events = log.after(0, 0)
    assert (len(events), events[0].seq) == (KEPT, 6)


def test_a_waiting_reader_is_let_go_when_the_hypervisor_stops() -> None:
    log = EventLog()
    threading.Timer(0.01, log.close).start()
    assert log.after(0, 60) == ()
