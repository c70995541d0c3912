# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From wishes to requests, and the mark in the LRMS's job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.bait.bait_fixture import TAG, Site, flavour, pooled
from wnodes.bait.config import BaitConfig
from wnodes.bait.request import Granted, Grants, Mark, groups, labels, printable, size_mib
from wnodes.bait.rules import Rules
from wnodes.lrms.base import LrmsJob, LrmsJobState, Wish
from wnodes.lrms.slurm_commands import SlurmConfig
from wnodes.model.disk import disk
from wnodes.model.errors import RequestError
from wnodes.model.job import Job, JobRequest
from wnodes.model.resources import Overheads, Resources
from wnodes.model.states import JobState
from wnodes.model.vm import Mount, VmRequest
from wnodes.nameserver.config import NameserverAccess
from wnodes.virt.policy import check_request
from wnodes_services.rules import parse


@pytest.mark.parametrize(("text", "mib"), [("512", 512), ("2G", 2048), ("1K", 1), ("1T", 1048576)])
def test_sizes_are_mib_rounded_up(text: str, mib: int) -> None:
    assert size_mib(text, "scratch") == mib


@pytest.mark.parametrize("text", ["", "1.5G", "-1", "1Q", "$(id)"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(RequestError):
        size_mib(text, "scratch")


@given(st.text(max_size=200))
def test_a_mark_survives_any_reason(reason: str) -> None:
    mark = Mark.parse(str(Mark("abc123", "hv1", 2, reason)))
    assert mark is not None
    assert (mark.id, mark.bait, mark.attempt) == ("abc123", "hv1", 2)
    assert "\n" not in mark.reason


def test_other_texts_are_no_marks() -> None:
    assert Mark.parse("my own comment") is None
    assert Mark.parse("wnodes:") is None


@given(st.text(max_size=200), st.text(max_size=40))
def test_labels_are_such_that_a_hypervisor_takes_them(name: str, user: str) -> None:
    asked = JobRequest("worker_debian12_x86_64", Resources(1, 512))
    job = Job("abc123", "7_1", user, 1000, asked, JobState.HELD, name=printable(name))
    made = labels(job)
    assert made["job"] == "7_1"
    check_request(VmRequest("abc123", "x", asked.tag, asked.resources, (), made), (), 8192, Overheads())


def test_what_is_not_known_of_a_job_is_no_label() -> None:
    job = Job("abc123", "7", "alice", 1000, JobRequest("", Resources(1, 512)), JobState.HELD)
    assert labels(job) == {"job": "7", "user": "alice"}


def test_a_user_s_groups_are_those_of_this_node_and_an_unknown_user_has_none() -> None:
    assert "root" in groups("root")
    assert groups("nobody-of-this-name") == ()


HOME, DATA = Mount("/site/home", "/home"), Mount("/site/data", "/data")


def granted(rules: str, tmp: int = 0, user: str = "alice", **options: str) -> Granted:
    config = BaitConfig(
        "hv1", SlurmConfig("hv1"), NameserverAccess("https://head"), mounts=(HOME, DATA),
        default_scratch_mib=100, max_scratch_mib=4096,
    )  # fmt: skip
    size = Resources(2, 1024, tmp)
    job = LrmsJob("7", LrmsJobState.RUNNING, user, 1000, size, partition="main", tag=TAG)
    return Grants(config, parse(rules, "r")).granted(Wish(TAG, options), job)


def test_without_rules_a_job_gets_what_the_configuration_says() -> None:
    assert granted("") == Granted(JobRequest(TAG, Resources(2, 1024, 100), (HOME, DATA)), {})


@pytest.mark.parametrize(
    ("rules", "tmp", "options", "gets"),
    [
        ("", 300, {}, 300),
        ("", 300, {"scratch": "50"}, 300),
        ("", 0, {"scratch": "50"}, 50),
        ("- scratch: {default: 200}", 0, {}, 200),
        ("- scratch: {default: 200}", 0, {"scratch": "50"}, 50),
        ("- scratch: {min: 200}", 0, {"scratch": "50"}, 200),
        ("- scratch: {min: 200}", 0, {}, 200),
        ("- scratch: {max: 80}", 0, {}, 80),
    ],
)
def test_scratch_is_what_is_asked_for_or_the_default_and_at_least_the_minimum(
    rules: str, tmp: int, options: dict[str, str], gets: int
) -> None:
    assert granted(rules, tmp, **options).request.resources.scratch_mib == gets


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (
            "\n- memory: {max: 1000}",
            r"memory \(1024 MiB\): is more than the rule allows \(1000 MiB, r:2\); ask for at most",
        ),
        (
            "- memory: {min: 2G}",
            r"memory \(1024 MiB\): is less than the rule allows \(2048 MiB, r:1\); ask for at least",
        ),
        ("- cpus: {max: 1}", r"cpus \(2\): is more than the rule allows \(1, r:1\)"),
        ("- scratch: {max: 1G}", r"scratch \(2048 MiB\): is more than the rule allows \(1024 MiB, r:1\)"),
        ("- scratch: {max: 8G, min: 8G}", r"scratch \(8192 MiB\): is more than a VM may have here \(4096 MiB\)"),
        (
            "- image: {allowed: ['gpu_*']}",
            r"image \(worker_.*\): is not for alice in partition main \(r:1\); allowed: gpu_",
        ),
    ],
)
def test_what_is_beyond_a_rule_is_refused_with_value_limit_and_rule(rules: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        granted(rules, 2048)


def test_file_systems_are_those_of_the_node_that_the_rule_names() -> None:
    assert granted("- mounts: ['/d*']").request.mounts == (DATA,)
    assert granted("- mounts: []").request.mounts == ()


def test_it_is_told_which_rule_made_a_value_what_it_is_and_of_no_other() -> None:
    rules = "- mounts: [/home]\n  cpus: {max: 4}\n  image: {allowed: ['*']}\n- scratch: {default: 1G}\n"
    assert granted(rules).ruled == {"mounts": "r:1", "scratch": "r:4"}
    assert granted(rules, tmp=2048, user="bob").ruled == {"mounts": "r:1"}


def test_rules_about_groups_are_about_those_that_this_node_knows() -> None:
    rules = "- match: {groups: [root]}\n  mounts: []\n"
    assert granted(rules, user="root").request.mounts == ()
    assert granted(rules, user="nobody-of-this-name").request.mounts == (HOME, DATA)


def test_of_several_images_the_one_that_waits_is_taken_else_the_first_that_is_here() -> None:
    site = pooled(flavour(1))
    site.lrms.tags = ("other_a_b", TAG)
    number, _ = site.dispatch(tag=f"other_a_b|vm_{TAG}")
    assert (site.job(number).request.tag, site.job(number).path) == (TAG, "pool")
    site = Site()
    site.hypervisor.tags = (TAG,)
    site.bait.heartbeat()
    number, _ = site.dispatch(tag=f"other_a_b|vm_{TAG}")
    assert site.job(number).request.tag == TAG


def test_a_job_that_wants_all_memory_gets_the_largest_vm_that_fits() -> None:
    site = Site()
    number = site.lrms.submit(tag=TAG, memory_mib=8000)
    site.lrms.change(number, whole_memory=True)
    site.bait.dispatch(site.lrms.dispatch(number))
    site.run(5)
    job = site.job(number)
    assert job.state is JobState.RUNNING
    assert site.config.overheads.charge(job.request.resources).memory_mib <= 8000
    assert job.request.resources.memory_mib == site.config.overheads.largest(8000)


@pytest.mark.parametrize("whole", ["", "17"])
def test_what_no_vm_has_is_refused_before_one_is_made(whole: str) -> None:
    site = Site()
    number = site.lrms.submit(tag=TAG)
    site.lrms.change(number, unsupported="it asks for generic resources (gpu:1)", whole=whole)
    answer = site.bait.dispatch(site.lrms.dispatch(number))
    site.run(5)
    assert answer is not None and answer.action == "stopped"
    assert (site.job(number).outcome, site.hypervisor.vms) == (JobState.REFUSED, {})
    assert "it asks for generic resources" in site.lrms.table[number].mark
    state = LrmsJobState.CANCELLED if whole else LrmsJobState.HELD
    assert site.lrms.table[number].state is state


def test_bytes_that_are_no_text_end_in_a_refusal_that_everybody_can_read() -> None:
    site = Site()
    number, answer = site.dispatch(comment="wnodes:\udcff=1")
    site.run(5)
    assert (answer, site.job(number).outcome) == ("stopped", JobState.REFUSED)
    json.dumps(site.bait.status(), ensure_ascii=False).encode("utf-8")
    site.job(number).reason.encode("utf-8")


def test_where_no_limit_is_set_no_scratch_disk_is_larger_than_the_disk(tmp_path: Path) -> None:
    config = BaitConfig("hv1", SlurmConfig("hv1"), NameserverAccess("https://head:8443"), state_dir=str(tmp_path))
    job = LrmsJob("7", LrmsJobState.RUNNING, "alice", 1000, Resources(1, 512))
    grants, most = Grants(config, Rules()), disk(str(tmp_path)).total_mib
    granted = grants.granted(Wish(TAG, {"scratch": f"{most}M"}), job)
    assert granted.request.resources.scratch_mib == most
    with pytest.raises(RequestError, match="is more than a VM may have here"):
        grants.granted(Wish(TAG, {"scratch": f"{most + 1}M"}), job)
