# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests at loopback addresses and a journald that is a socket of the test: each is named, and none slows another."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.hypervisor.test_syslog_intake import vm
from tests.unit.plugins.module_utils.test_journald import read
from wnodes.hypervisor.syslog import BYTES_PER_TICK, MAX_LINKS, RETRY_S, STRANGE_PER_TICK, TICK_S, SyslogReceiver
from wnodes.hypervisor.syslog_intake import Intake
from wnodes.journald import Journald
from wnodes.model.clock import FakeClock
from wnodes.model.vm import Vm

LIMIT_S = 120.0


def free_port(address: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


class Node:
    """A receiver at ``address``; ``vms``: what the registry knows."""

    def __init__(self, folder: Path, address: str = "127.0.0.1", rate: float = 1000.0, burst: int = 5000) -> None:
        self.address, self.port, self.clock = address, free_port(address), FakeClock()
        self.vms: dict[str, Vm] = {"127.0.0.2": vm("a"), "127.0.0.3": vm("b"), "::1": vm("six")}
        self.journald = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.journald.bind(str(folder / "journal"))
        self.journald.setblocking(False)
        self.journal = Journald(str(folder / "journal"))
        self.intake = Intake(self.journal, rate, burst, self.clock.now)
        self.receiver = SyslogReceiver(address, self.port, lambda: self.vms, self.intake, self.journal, self.clock.now)
        self.records: list[dict[str, str]] = []
        self.calling: list[socket.socket] = []

    def close(self) -> None:
        self.receiver.stop()
        self.journald.close()
        for one in self.calling:
            one.close()

    def turn(self) -> None:
        self.receiver.turn(0.01)
        with contextlib.suppress(BlockingIOError):
            while True:
                fields = read(self.journald.recv(1 << 20))
                self.records.append({name: value.decode() for name, value in fields.items()})

    def until(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + LIMIT_S
        while not true():
            assert time.monotonic() < end, (self.records[-3:], self.receiver.counts)
            self.turn()

    def idle(self, turns: int = 20) -> None:
        for _ in range(turns):
            self.turn()

    def tick(self) -> None:
        self.clock.advance(TICK_S)
        self.turn()

    def client(self, host: str, kind: int) -> socket.socket:
        one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        self.calling.append(one)
        one.bind((host, 0))
        one.connect((self.address, self.port))
        one.settimeout(LIMIT_S)
        return one

    def udp(self, host: str) -> socket.socket:
        return self.client(host, socket.SOCK_DGRAM)

    def tcp(self, host: str) -> socket.socket:
        return self.client(host, socket.SOCK_STREAM)

    def said(self, name: str = "MESSAGE") -> list[str]:
        return [fields[name] for fields in self.records]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    node.turn()
    yield node
    node.close()


def test_datagrams_and_both_framings_arrive_with_the_name_of_their_vm(node: Node) -> None:
    node.udp("127.0.0.2").send(b"<13>Nov 21 12:00:00 host app[1]: by udp")
    node.tcp("127.0.0.2").sendall(b"<13>1 - - app 1 - - by line\n")
    node.tcp("127.0.0.3").sendall(b"10 <13>a\nb: c7 <13>end")
    node.until(lambda: len(node.records) == 4)
    assert sorted(node.said()) == [
        "vm=vwn-a job=17_2 app[1]: by line",
        "vm=vwn-a job=17_2 app[1]: by udp",
        "vm=vwn-b job=17_2 a\\nb: c",
        "vm=vwn-b job=17_2 end",
    ]
    assert set(node.said("SYSLOG_IDENTIFIER")) == {"wnodes-vm"}
    assert node.receiver.counts == {"written": 4}


def test_ipv6_guests_are_heard_both_ways(tmp_path: Path) -> None:
    node = Node(tmp_path, "::1")
    try:
        node.turn()
        node.udp("::1").send(b"one")
        node.until(lambda: len(node.records) == 1)
        node.udp("::1").send(b"two")
        node.tcp("::1").sendall(b"three\n")
        node.until(lambda: len(node.records) == 3)
        assert set(node.said("WNODES_VM")) == {"vwn-six"}
    finally:
        node.close()


def test_a_message_may_come_in_pieces_and_end_with_its_connection(node: Node) -> None:
    sender = node.tcp("127.0.0.2")
    for piece in (b"<1", b"3>fir", b"st\n<13>se", b"cond"):
        sender.sendall(piece)
        node.idle(3)
    sender.close()
    node.until(lambda: len(node.records) == 2)
    assert node.said() == ["vm=vwn-a job=17_2 first", "vm=vwn-a job=17_2 second"]


def test_strangers_are_counted_and_not_heard(node: Node) -> None:
    node.udp("127.0.0.9").send(b"<13>hello")
    stranger = node.tcp("127.0.0.9")
    node.until(lambda: node.receiver.counts.get("unknown") == 2)
    assert stranger.recv(10) == b""
    assert node.records == []


def test_a_vm_that_is_gone_is_heard_no_more_nor_taken_for_the_next_one(node: Node) -> None:
    line, datagrams = node.tcp("127.0.0.2"), node.udp("127.0.0.2")
    line.sendall(b"<13>before\n")
    datagrams.send(b"<13>before")
    node.until(lambda: len(node.records) == 2)
    node.vms["127.0.0.2"] = vm("next")
    line.sendall(b"<13>late\n")
    assert_closed(node, line)
    assert set(node.said()) == {"vm=vwn-a job=17_2 before"}
    node.udp("127.0.0.2").send(b"<13>new")
    node.until(lambda: len(node.records) == 3)
    assert node.said()[-1] == "vm=vwn-next job=17_2 new"
    node.tick()
    heard = len(node.receiver._selector.get_map())
    del node.vms["127.0.0.2"]
    node.tick()
    assert len(node.receiver._selector.get_map()) == heard - 1


def assert_closed(node: Node, connection: socket.socket) -> None:
    connection.setblocking(False)

    def closed() -> bool:
        try:
            return connection.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    node.until(closed)


def test_of_too_many_connections_the_one_silent_longest_makes_way(node: Node) -> None:
    lines = []
    for number in range(MAX_LINKS):
        lines.append(node.tcp("127.0.0.2"))
        lines[-1].sendall(b"<13>%d\n" % number)
        node.until(lambda: len(node.records) == len(lines))
        node.clock.advance(0.1)
    lines[0].sendall(b"<13>again\n")
    node.until(lambda: len(node.records) == MAX_LINKS + 1)
    node.tcp("127.0.0.2").sendall(b"<13>new\n")
    node.until(lambda: node.said()[-1].endswith("new"))
    assert_closed(node, lines[1])
    lines[0].sendall(b"<13>still\n")
    node.until(lambda: node.said()[-1].endswith("still"))


def test_what_is_no_syslog_ends_its_connection_only(node: Node) -> None:
    bad, good = node.tcp("127.0.0.2"), node.tcp("127.0.0.2")
    bad.sendall(b"0000000000000000")
    assert_closed(node, bad)
    good.sendall(b"<13>x\n")
    node.until(lambda: len(node.records) == 1)
    assert node.receiver.counts == {"framing": 1, "written": 1}


def test_a_flood_of_datagrams_costs_its_sender_only(tmp_path: Path) -> None:
    node = Node(tmp_path, rate=1.0, burst=10)
    try:
        node.turn()
        loud, quiet = node.udp("127.0.0.2"), node.udp("127.0.0.3")
        node.tick()
        for number in range(5):
            for _ in range(4000):
                loud.send(b"<13>x")
            quiet.send(b"<13>%d" % number)
            node.until(lambda number=number: f"vm=vwn-b job=17_2 {number}" in node.said())
        assert node.said("WNODES_VM").count("vwn-b") == 5
        assert node.said("WNODES_VM").count("vwn-a") == 10
        flood = BYTES_PER_TICK // 256  # more is not read in a tick
        for _ in range(flood // 10):
            for _ in range(20):
                loud.send(b"<13>x")
            node.turn()
        assert node.receiver.counts["rate"] <= flood
        dropped = node.receiver.counts["rate"]
        node.tick()
        node.until(lambda: node.receiver.counts["rate"] > dropped)
    finally:
        node.close()


def test_a_flooding_connection_is_left_unread_until_the_next_tick(node: Node) -> None:
    loud, quiet = node.tcp("127.0.0.2"), node.tcp("127.0.0.3")
    loud.setblocking(False)
    quiet.sendall(b"<13>first\n")
    line = b"<13>" + b"x" * 95 + b"\n"
    with contextlib.suppress(BlockingIOError):
        while True:
            loud.send(line * 100)
    node.idle(100)
    read_bytes = sum(len(fields["MESSAGE"]) for fields in node.records if fields["WNODES_VM"] == "vwn-a")
    assert read_bytes < 2 * BYTES_PER_TICK
    quiet.sendall(b"<13>second\n")
    node.until(lambda: node.said()[-1] == "vm=vwn-b job=17_2 second")
    before = len(node.records)
    node.tick()
    node.until(lambda: len(node.records) > before + 100)


def test_strangers_that_flood_are_left_unread_and_guests_are_heard(node: Node) -> None:
    node.tick()
    guest, stranger = node.udp("127.0.0.2"), node.udp("127.0.0.9")
    for _ in range(3 * STRANGE_PER_TICK // 100):
        for _ in range(100):
            stranger.send(b"x")
        node.idle(5)
    assert node.receiver.counts["unknown"] == STRANGE_PER_TICK
    guest.send(b"<13>heard")
    node.until(lambda: len(node.records) == 1)
    node.vms["127.0.0.4"] = vm("new")
    node.tick()
    assert node.receiver.counts["unknown"] > STRANGE_PER_TICK
    node.udp("127.0.0.4").send(b"<13>new")
    node.until(lambda: len(node.records) == 2)


def test_guests_with_ipv4_addresses_are_known_to_a_receiver_of_both(tmp_path: Path) -> None:
    node = Node(tmp_path, "::")
    try:
        node.turn()
        node.tick()
        node.address = "127.0.0.1"
        node.udp("127.0.0.2").send(b"<13>x")
        node.tcp("127.0.0.3").sendall(b"<13>y\n")
        node.until(lambda: sorted(node.said("WNODES_VM")) == ["vwn-a", "vwn-b"])
        assert node.receiver._guests["127.0.0.2"].datagrams is not None
    finally:
        node.close()


def test_an_address_that_is_not_there_yet_is_tried_again(tmp_path: Path) -> None:
    node = Node(tmp_path)
    try:
        with socket.socket() as taken:
            taken.bind((node.address, node.port))
            taken.listen()
            node.turn()
            assert node.receiver.problem.startswith(f"syslog: can't listen on 127.0.0.1 port {node.port}: Address")
        node.turn()
        assert node.receiver.problem
        node.clock.advance(RETRY_S[0])
        node.turn()
        assert node.receiver.problem == ""
        node.udp("127.0.0.2").send(b"<13>x")
        node.until(lambda: len(node.records) == 1)
    finally:
        node.close()


def test_a_journald_that_takes_nothing_holds_up_nobody(node: Node) -> None:
    sender = node.tcp("127.0.0.2")
    sender.sendall(b"<13>x\n" * 3000)
    end = time.monotonic() + LIMIT_S
    while node.receiver.counts.get("written") != 3000:
        assert time.monotonic() < end
        node.receiver.turn(0.01)  # nobody reads what journald has
    node.until(lambda: len(node.records) == 3000)


def test_its_thread_starts_and_stops(tmp_path: Path) -> None:
    node = Node(tmp_path)
    try:
        node.receiver.turn(0)
        node.receiver.start()
        node.journald.settimeout(LIMIT_S)
        node.udp("127.0.0.2").send(b"<13>x")
        assert read(node.journald.recv(1 << 20))["WNODES_VM"] == b"vwn-a"
    finally:
        node.close()
    assert node.receiver._thread is not None
    assert not node.receiver._thread.is_alive()
