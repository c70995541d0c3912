# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One record a message, with the node's names in it and none of the guest's choosing; never more than a VM's rate."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.hypervisor.node_fixture import request
from tests.unit.plugins.module_utils.hypervisor.test_syslog_text import ANYTHING
from wnodes.hypervisor.syslog_intake import REPORT_S, Bucket, Intake, record
from wnodes.hypervisor.syslog_text import MAX_MESSAGE, Message, harmless, parse
from wnodes.model.clock import FakeClock
from wnodes.model.lease import Lease, NetworkSettings
from wnodes.model.states import VmState
from wnodes.model.vm import Vm

LABELS = {"job": "17_2", "job_name": "my job", "user": "alice"}


def vm(vm_id: str = "r1", labels: dict[str, str] = LABELS) -> Vm:
    lease = Lease(f"vwn-{vm_id}", "52:54:00:00:00:01", "10.77.0.100", NetworkSettings(24), vm_id, "hv1", 1, 0.0)
    return Vm(replace(request(vm_id), labels=labels), VmState.IN_USE, lease=lease)


class Written(list[dict[str, str]]):
    """A journal; ``room``: records it takes."""

    room = 10_000

    def put(self, fields: dict[str, str]) -> bool:
        if len(self) < self.room:
            self.append(fields)
            return True
        return False


def test_a_record_carries_vm_and_job_and_the_guests_tag_apart() -> None:
    assert record(vm(), Message(10, 6, "Accepted key", "sshd", "12", "Nov 21 12:00:00")) == {
        "MESSAGE": "vm=vwn-r1 job=17_2 sshd[12]: Accepted key",
        "PRIORITY": "6",
        "SYSLOG_FACILITY": "10",
        "SYSLOG_IDENTIFIER": "wnodes-vm",
        "WNODES_VM": "vwn-r1",
        "WNODES_REQUEST": "r1",
        "WNODES_TAG": "sshd",
        "WNODES_SENT": "Nov 21 12:00:00",
        "WNODES_JOB": "17_2",
        "WNODES_JOB_NAME": "my job",
        "WNODES_USER": "alice",
    }


def test_a_vm_without_a_job_and_a_message_without_a_tag_are_told_as_they_are() -> None:
    found = record(vm(labels={}), Message(0, 0, "x"))
    assert found["MESSAGE"] == "vm=vwn-r1 x"
    assert {"WNODES_JOB", "WNODES_TAG", "WNODES_SENT"} & set(found) == set()


def test_no_guest_reaches_every_terminal_of_the_node() -> None:
    assert record(vm(), Message(0, 0, "x"))["PRIORITY"] == "1"


def test_labels_do_not_hide_what_is_known_of_the_vm() -> None:
    found = record(vm(labels={"vm": "other", "request": "other", "tag": "other"}), Message(1, 5, "x"))
    assert (found["WNODES_VM"], found["WNODES_REQUEST"], "WNODES_TAG" in found) == ("vwn-r1", "r1", False)


@given(ANYTHING)
def test_no_input_makes_more_than_one_record_or_a_field_of_the_nodes_own(data: bytes) -> None:
    journal, plain = Written(), record(vm(), Message(1, 5, "x", "t", "1", "now"))
    Intake(journal, 1.0, 10, FakeClock().now).take(vm(), [data])
    assert len(journal) == (parse(data) is not None)
    chosen = {"MESSAGE", "PRIORITY", "SYSLOG_FACILITY", "WNODES_TAG", "WNODES_SENT"}
    for fields in journal:
        assert set(fields) <= set(plain)
        assert all(value == plain[name] for name, value in fields.items() if name not in chosen)
        assert fields["MESSAGE"].startswith("vm=vwn-r1 job=17_2 ")
        assert all(harmless(value) == value for value in fields.values())


def test_a_message_is_cut_between_letters() -> None:
    text = record(vm(), Message(1, 5, "é" * MAX_MESSAGE))["MESSAGE"]
    assert MAX_MESSAGE - 1 <= len(text.encode()) <= MAX_MESSAGE
    assert text.endswith("é")


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 200)), max_size=30), st.floats(1, 100), st.integers(1, 100))
def test_a_bucket_never_gives_more_than_burst_and_rate(steps: list[tuple[float, int]], rate: float, burst: int) -> None:
    now, given_away = 50.0, 0
    bucket = Bucket(rate, burst, now)
    for pause, wanted in steps:
        now += pause
        granted = bucket.take(wanted, now)
        assert 0 <= granted <= wanted
        given_away += granted
    assert given_away <= burst + rate * (now - 50.0) + 1


def test_a_bucket_stands_a_clock_that_goes_back() -> None:
    bucket = Bucket(1.0, 2, 100.0)
    assert (bucket.take(5, 100.0), bucket.take(5, 50.0), bucket.take(5, 51.0)) == (2, 0, 1)


def test_one_vm_over_its_rate_takes_nothing_from_another(caplog: pytest.LogCaptureFixture) -> None:
    clock, journal = FakeClock(), Written()
    intake = Intake(journal, 10.0, 100, clock.now)
    intake.take(vm("loud"), [b"<13>x"] * 1000)
    intake.take(vm("quiet"), [b"<13>y"])
    assert [fields["WNODES_VM"] for fields in journal] == ["vwn-loud"] * 100 + ["vwn-quiet"]
    clock.advance(1.0)
    intake.take(vm("loud"), [b"<13>x"] * 1000)
    assert dict(intake.counts) == {"written": 111, "rate": 1890}


def test_what_was_dropped_is_told_once_a_period(caplog: pytest.LogCaptureFixture) -> None:
    clock, journal = FakeClock(), Written()
    intake = Intake(journal, 1.0, 1, clock.now)
    with caplog.at_level(logging.WARNING):
        for _second in range(int(3 * REPORT_S)):
            intake.take(vm(), [b"x"] * 3)
            intake.drop("strangers", "unknown")
            intake.report()
            clock.advance(1.0)
    assert len(caplog.messages) == 4
    assert "122 messages of vm=vwn-r1 dropped: over syslog_rate" in caplog.messages
    assert any(said.endswith("of strangers dropped: no VM of this node has the address") for said in caplog.messages)


def test_what_the_journal_does_not_take_is_counted() -> None:
    journal = Written()
    journal.room = 1
    intake = Intake(journal, 10.0, 100, FakeClock().now)
    intake.take(vm(), [b"a", b"", b"b", b"c"])
    assert dict(intake.counts) == {"written": 1, "journal": 2}


def test_nothing_is_kept_of_a_vm_that_is_gone() -> None:
    intake = Intake(Written(), 1.0, 1, FakeClock().now)
    intake.take(vm(), [b"x"])
    intake.forget("r1")
    assert intake._buckets == {}
