# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for events; a pair of sockets stands for the kernel's."""

from __future__ import annotations

import socket

import pytest

from wnodes.net.netlink import NetworkEvents


@pytest.fixture
def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)


def test_what_is_already_so_needs_no_event(pair: tuple[socket.socket, socket.socket]) -> None:
    with pair[0], NetworkEvents(lambda: pair[1]) as events:
        assert events.wait_until(lambda: True, 0)


def test_each_event_makes_it_look_again(pair: tuple[socket.socket, socket.socket]) -> None:
    kernel, ours = pair
    looks = []

    def reached() -> bool:
        looks.append(len(looks))
        kernel.send(b"a link changed")
        return len(looks) == 3

    with kernel, NetworkEvents(lambda: ours) as events:
        assert events.wait_until(reached, 60)
    assert len(looks) == 3


def test_the_limit_ends_it_and_the_last_look_counts(pair: tuple[socket.socket, socket.socket]) -> None:
    answers = iter([False, True])
    with pair[0], NetworkEvents(lambda: pair[1]) as events:
        assert not events.wait_until(lambda: False, 0.01)
        assert events.wait_until(lambda: next(answers), 0.01)
