# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Syslog is read as its standards say, and whatever else comes is bounded, printable and one message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wnodes.hypervisor.syslog_text import MAX_MESSAGE, Framing, Message, Stream, harmless, parse

STAMP = "2003-10-11T22:14:15.003Z"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        # RFC 3164, 5.4
        (
            b"<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
            Message(4, 2, "'su root' failed for lonvick on /dev/pts/8", "su", "", "Oct 11 22:14:15"),
        ),
        (b"<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!", Message(1, 5, "Use the BFG!", "", "", "Feb  5 17:32:18")),
        # RFC 5424, 6.5
        (
            b"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \xef\xbb\xbf'su root' failed",
            Message(4, 2, "'su root' failed", "su", "", STAMP),
        ),
        (
            b'<165>1 2003-10-11T22:14:15.003Z host evntslog 12 ID47 [a@1 b="3"][c@1 d="\\]\\" ]"] An event',
            Message(20, 5, "An event", "evntslog", "12", STAMP),
        ),
        # logger(1), rsyslog with its own stamp, nothing at all
        (b"<13>Nov 21 12:00:00 sshd[7]: a: b\n", Message(1, 5, "a: b", "sshd", "7", "Nov 21 12:00:00")),
        (b"<13>Nov 21 12:00:00 sshd: error: x", Message(1, 5, "error: x", "sshd", "", "Nov 21 12:00:00")),
        (
            b"<13>2026-11-21T12:00:00.123456+01:00 fd00::1 app: x",
            Message(1, 5, "x", "app", "", "2026-11-21T12:00:00.123456+01:00"),
        ),
        (b"just text", Message(1, 5, "just text")),
        (b"<192>x", Message(1, 5, "<192>x")),
        (b"<0>x\0\r\n", Message(0, 0, "x")),
    ],
)
def test_known_forms_are_read(data: bytes, message: Message) -> None:
    assert parse(data) == message


@pytest.mark.parametrize("data", [b"", b"\n", b"<13>", b"<13>  \n", b"<34>1 - - su - - -"])
def test_where_there_is_no_text_there_is_no_message(data: bytes) -> None:
    assert parse(data) is None


def test_a_reader_can_not_be_fooled_by_what_does_not_print() -> None:
    assert harmless("a\nb\x1b[2J\x7f\u202e\u2028\t\\ü") == "a\\nb\\x1b[2J\\x7f\\u202e\\u2028\t\\ü"
    message = parse(b"<13>Nov 21 12:00:00 h t\xff\x07[\x1b]: a\xff\nb")
    assert message is not None
    assert (message.tag, message.pid, message.text) == ("t\\xff\\x07", "\\x1b", "a\\xff\\nb")


ANYTHING = st.one_of(
    st.binary(max_size=300),
    st.from_regex(rb"<[0-9]{1,3}>1 - - [a\x1b]{1,60} - - (-|[\\[\\]\"= x\\\\]{0,40}) .*", fullmatch=True),
    st.from_regex(rb"<[0-9]{1,3}>Nov 21 12:00:00 .{0,80}", fullmatch=True),
)


@given(ANYTHING)
def test_whatever_comes_a_message_is_bounded_and_prints_on_one_line(data: bytes) -> None:
    message = parse(data)
    if message is None:
        return
    assert 0 <= message.facility <= 23
    assert 0 <= message.severity <= 7
    for name in (message.tag, message.pid, message.sent):
        assert len(name) <= 48
        assert harmless(name) == name
    assert message.text.replace("\t", "").isprintable()


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in zip(places, places[1:])]


CUTS = st.lists(st.integers(0, 40_000), max_size=12)
TEXTS = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=40), st.integers(MAX_MESSAGE - 2, MAX_MESSAGE + 9).map(lambda n: b"x" * n)
    ),
    max_size=5,
)


@given(TEXTS, CUTS)
def test_counted_messages_arrive_whole_however_they_are_cut(texts: list[bytes], cuts: list[int]) -> None:
    stream = Stream()
    data = b"".join(b"%d %s" % (len(text), text) for text in texts)
    found = [message for part in split(data, cuts) for message in stream.feed(part)]
    assert found == [text[:MAX_MESSAGE] for text in texts]
    assert stream.rest() == b""


@given(TEXTS, CUTS)
def test_lines_arrive_whole_however_they_are_cut(texts: list[bytes], cuts: list[int]) -> None:
    stream = Stream()
    lines = [b"<13>" + text.replace(b"\n", b" ") for text in texts]
    found = [message for part in split(b"\n".join(lines), cuts) for message in stream.feed(part)]
    rest = stream.rest()
    assert found + ([rest] if rest else []) == [line[:MAX_MESSAGE] for line in lines]


@given(st.lists(st.binary(max_size=9000), max_size=8))
def test_a_stream_of_anything_is_bounded(parts: list[bytes]) -> None:
    stream = Stream()
    try:
        for part in parts:
            assert all(len(message) <= MAX_MESSAGE for message in stream.feed(part))
            assert len(stream._buffer) <= MAX_MESSAGE + 8
    except Framing:
        pass


@pytest.mark.parametrize("data", [b"0 x", b"12x", b"1234567 x", b"1 a<13>b", b"99999999", b"3 abc 3 abc"])
def test_counting_without_a_count_is_no_framing(data: bytes) -> None:
    with pytest.raises(Framing):
        Stream().feed(data)


def test_the_first_byte_decides_for_the_whole_connection() -> None:
    assert Stream().feed(b"<13>a\n12 b\n") == [b"<13>a", b"12 b"]
    assert Stream().feed(b"3 a\nb4 <1>c") == [b"a\nb", b"<1>c"]
