# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of hostile guests: delivered once, acknowledged always, and never a way to hurt the host."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wnodes.virt import channel
from wnodes.virt.channel import BYTES_PER_S, FRAMES_PER_S, MAX_FRAME, ChannelHub, Frame, FrameReader, Port, parse_frame


def line(seq: object = 1, event: object = "start", data: object = None) -> bytes:
    frame = {"seq": seq, "event": event, **({} if data is None else {"data": data})}
    return json.dumps(frame).encode() + b"\n"


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b'"start"',
        b"\xff\xfe",
        b"{",
        b"[" * 4000,
        b'{"seq": 1}',
        line(seq="1"),
        line(seq=True),
        line(seq=-1),
        line(seq=2**64),
        line(seq=1.0),
        line(event=""),
        line(event="Start"),
        line(event="x" * 33),
        line(event="start\n"),
        line(event=["start"]),
        line(data=[]),
        line(data={"a": 1}),
        line(data={str(i): "" for i in range(33)}),
        b'{"seq": 1, "event": "start", "more": 1}',
        b'{"seq": NaN, "event": "start"}',
        b'{"seq": 1, "event": "start", "data": {"job": "\\udcff"}}',
        b'{"seq": 1, "event": "start", "data": {"\\ud800": "17"}}',
    ],
)
def test_what_is_no_frame_is_none(wrong: bytes) -> None:
    assert parse_frame(wrong.rstrip(b"\n")) is None


def test_a_frame() -> None:
    assert parse_frame(line(2**63, "job-end", {"job": "17", "text": "ü\n"})) == Frame(
        2**63, "job-end", {"job": "17", "text": "ü\n"}
    )
    assert parse_frame(b' {"event":"end","seq":0} \r') == Frame(0, "end", {})


@given(st.binary(max_size=300), st.data())
def test_any_cut_gives_the_same_frames(noise: bytes, data: st.DataObject) -> None:
    stream = noise + b"\n" + line(1) + b"junk\n" + line(2, "end", {"a": "b"})
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader, frames = FrameReader(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)]):
        frames += reader.feed(stream[begin:end])
    assert frames == FrameReader().feed(stream)
    assert frames[-2:] == [Frame(1, "start"), Frame(2, "end", {"a": "b"})]


@given(st.lists(st.binary(max_size=3 * MAX_FRAME), max_size=6))
def test_noise_costs_no_memory(chunks: list[bytes]) -> None:
    port = Port()
    for chunk in chunks:
        port.feed(chunk, 0.0)
        assert len(port._reader._buffer) < MAX_FRAME


def test_a_line_over_the_limit_is_skipped_to_its_end() -> None:
    reader = FrameReader()
    long = line(1, "start", {"x": "y" * MAX_FRAME})
    assert reader.feed(long[:5000]) == []
    assert reader.feed(long[5000:] + line(2)) == [Frame(2, "start")]


def test_a_repeated_frame_is_acknowledged_again_and_delivered_once() -> None:
    port = Port()
    assert port.feed(line(5) + line(5), 0.0) == ([Frame(5, "start")], b'{"ack":5}\n{"ack":5}\n')
    port.restarted()
    assert port.feed(line(5), 0.0) == ([], b'{"ack":5}\n')


def test_a_half_frame_does_not_survive_a_reconnect() -> None:
    port = Port()
    port.feed(line(1)[:-5], 0.0)
    port.restarted()
    assert port.feed(line(2), 0.0)[0] == [Frame(2, "start")]


def test_too_many_frames_are_not_delivered_and_come_again_later() -> None:
    port = Port()
    frames, answer = port.feed(b"".join(line(i) for i in range(1000)), 0.5)
    assert len(frames) == answer.count(b"ack") == FRAMES_PER_S
    assert port.muted_for(0.6) == pytest.approx(0.9, abs=0.5)
    assert port.feed(line(999), 2.0)[0] == [Frame(999, "start")]
    assert port.muted_for(2.0) == 0.0


def test_too_many_bytes_mute_a_guest_for_the_rest_of_the_second() -> None:
    port = Port()
    port.feed(b"x" * (BYTES_PER_S + 1), 10.0)
    assert port.muted_for(10.25) == 0.75


class Guests:
    """The VMs' ends of their ports."""

    def __init__(self) -> None:
        self.ends: dict[str, socket.socket] = {}
        self.refused = 0

    def connect(self, path: str) -> socket.socket:
        if path not in self.ends:
            self.refused += 1
            raise FileNotFoundError(path)
        ours, self.ends[path] = socket.socketpair()
        ours.setblocking(False)
        self.ends[path].setblocking(False)
        return ours

    def boot(self, path: str) -> None:
        self.ends[path] = SimpleNamespace(close=lambda: None)  # type: ignore[assignment]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    now = SimpleNamespace(t=100.0)
    monkeypatch.setattr(channel.time, "monotonic", lambda: now.t)
    guests, heard = Guests(), []
    hub = ChannelHub(lambda vm_id, frame: heard.append((vm_id, frame)), guests.connect)
    yield SimpleNamespace(now=now, guests=guests, heard=heard, hub=hub)
    hub.stop()
    for end in guests.ends.values():
        end.close()


def turn(site: SimpleNamespace, times: int = 3) -> None:
    for _ in range(times):
        site.hub.turn(0)


def test_frames_come_in_with_their_vm_and_are_acknowledged(site: SimpleNamespace) -> None:
    for vm_id in ("a", "b"):
        site.guests.boot(f"/{vm_id}")
        site.hub.add(vm_id, f"/{vm_id}")
    turn(site)
    site.guests.ends["/b"].send(line(7, "end", {"job": "1"}))
    turn(site)
    assert site.heard == [("b", Frame(7, "end", {"job": "1"}))]
    assert site.guests.ends["/b"].recv(100) == b'{"ack":7}\n'


def test_a_port_that_is_not_there_yet_is_tried_again_with_pauses(site: SimpleNamespace) -> None:
    site.hub.add("a", "/a")
    turn(site)
    assert site.guests.refused == 1
    site.now.t += 0.3
    site.guests.boot("/a")
    turn(site)
    site.guests.ends["/a"].send(line())
    turn(site)
    assert len(site.heard) == 1


def test_a_closed_port_is_opened_again(site: SimpleNamespace) -> None:
    site.guests.boot("/a")
    site.hub.add("a", "/a")
    turn(site)
    site.guests.ends["/a"].send(b'{"half')
    turn(site)
    site.guests.ends["/a"].close()
    turn(site)
    site.now.t += 3
    turn(site)
    site.guests.ends["/a"].send(line(3))
    turn(site)
    assert site.heard == [("a", Frame(3, "start"))]


def test_a_guest_that_floods_is_left_alone_and_heard_again_later(site: SimpleNamespace) -> None:
    for vm_id in ("a", "b"):
        site.guests.boot(f"/{vm_id}")
        site.hub.add(vm_id, f"/{vm_id}")
    turn(site)
    site.guests.ends["/a"].send(b"".join(line(i) for i in range(FRAMES_PER_S + 10)))
    turn(site)
    site.guests.ends["/a"].send(line(5000))
    site.guests.ends["/b"].send(line(6000))
    turn(site)
    assert len(site.heard) == FRAMES_PER_S + 1
    assert site.heard[-1] == ("b", Frame(6000, "start"))
    site.now.t += 1.1
    turn(site)
    assert site.heard[-1] == ("a", Frame(5000, "start"))


def test_a_guest_that_never_reads_does_not_block_us(site: SimpleNamespace) -> None:
    site.guests.boot("/a")
    site.hub.add("a", "/a")
    turn(site)
    for number in range(2000):
        site.guests.ends["/a"].send(line(number))
        site.now.t += 1
        turn(site, 1)
    assert len(site.heard) == 2000


def test_a_removed_vm_is_heard_no_more(site: SimpleNamespace) -> None:
    site.guests.boot("/a")
    site.hub.add("a", "/a")
    turn(site)
    site.hub.remove("a")
    turn(site)
    with pytest.raises(OSError):
        site.guests.ends["/a"].send(line())
    assert site.heard == []


def test_the_hub_runs_in_a_thread_of_its_own() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    came = threading.Event()
    hub = ChannelHub(lambda _vm_id, _frame: came.set(), lambda _path: ours)
    hub.start()
    try:
        hub.add("a", "/a")
        theirs.send(line())
        assert came.wait(5)
    finally:
        hub.stop()
        theirs.close()


def test_the_thread_outlives_whatever_one_turn_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    again, turns = threading.Event(), 0

    def turn(_timeout: float | None) -> None:
        nonlocal turns
        turns += 1
        if turns > 1:
            again.set()
        raise ValueError("file descriptor cannot be a negative integer (-1)")

    monkeypatch.setattr(channel, "RETRY_S", (0.0, 0.0))
    hub = ChannelHub(lambda _vm, _frame: None)
    monkeypatch.setattr(hub, "turn", turn)
    hub.start()
    assert again.wait(5)
    hub.stop()
