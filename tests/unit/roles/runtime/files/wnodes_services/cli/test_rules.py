# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for administrators and users: whether they are good, and what they give to whom."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.roles.runtime.files.wnodes_services.cli.conftest import Cli
from wnodes_services.cli import rules

RULES = """
- match: {groups: [physics]}
  image: {default: worker_debian12_x86_64, allowed: [worker_*]}
- match: {users: [alice]}
  memory: {max: 2G}
  scratch: {default: 1G, min: 512M}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "rules.yml"
    path.write_text(RULES)
    return str(path)


def test_check_is_0_for_a_good_file_and_1_with_all_that_is_wrong_else(wnodes: Cli, file: str) -> None:
    assert wnodes("rules", "check", file) == (0, f"{file}: 2 rules, all good\n", "")
    Path(file).write_text("- cpus: {max: x}\n- nmae: 1\n")
    code, out, err = wnodes("rules", "check", file)
    assert (code, out) == (1, "")
    places = [line.partition(": ")[0] for line in err.removeprefix("wnodes: ").splitlines()]
    assert places == [f"{file}:1", f"{file}:2"]
    assert wnodes("rules", "check", file, "--name", "mine.yml")[2].startswith("wnodes: mine.yml:1: cpus.max")


def test_check_for_programs(wnodes: Cli, file: str) -> None:
    assert json.loads(wnodes("rules", "check", file, "--json")[1]) == {"ok": True, "problems": [], "rules": 2}
    Path(file).write_text("- cpus: {max: x}\n")
    code, out, _err = wnodes("rules", "check", file, "--json")
    assert code == 1
    assert json.loads(out)["problems"][0]["object"] == f"{file}:1: cpus.max"


def test_check_can_look_at_what_a_node_has(wnodes: Cli, file: str) -> None:
    Path(file).write_text("- mounts: [/home, /data]\n")
    assert wnodes("rules", "check", file)[0] == 0
    assert wnodes("rules", "check", file, "--mounts", "/home,/data")[0] == 0
    for mounts, those in (("/home", "/home"), ("", "none")):
        code, _out, err = wnodes("rules", "check", file, "--mounts", mounts)
        assert code == 1
        assert f"{file}:1: mounts ('/data'): is none of" in err
        assert f"those are: {those}\n" in err
    assert "jobs by itself" in wnodes("rules", "check", file, "--offer")[2]


def explained(wnodes: Cli, file: str, *more: str) -> tuple[int, str, str]:
    groups = () if "--group" in more else ("--group", "")
    return wnodes("rules", "explain", "--user", "alice", "--partition", "main", "--file", file, *groups, *more)


def test_explain_names_the_rule_that_decides_each_value(wnodes: Cli, file: str) -> None:
    code, out, _err = explained(wnodes, file, "--group", "physics")
    assert code == 0
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines()}
    assert rows["image.default"] == f"worker_debian12_x86_64 {file}:3"
    assert rows["image.allowed"] == f"worker_* {file}:3"
    assert rows["memory"] == f"at most 2048 MiB {file}:5"
    assert rows["scratch"] == f"by default 1024 MiB; at least 512 MiB {file}:6"
    assert rows["cpus"].endswith("no rule")


def test_explain_says_what_becomes_of_wishes_and_is_1_if_one_is_refused(wnodes: Cli, file: str) -> None:
    code, out, _err = explained(wnodes, file, "--wish", "scratch=100M", "--wish", "cpus=4", "--wish", "image=gpu_a_b")
    assert code == 0
    assert "scratch=100M: gets 512 MiB\ncpus=4: gets 4\nimage=gpu_a_b: gets gpu_a_b\n" in out
    code, out, _err = explained(wnodes, file, "--group", "physics", "--wish", "memory=3G", "--wish", "image=gpu_a_b")
    assert code == 1
    assert f"memory=3G: memory (3072 MiB): is more than the rule allows (2048 MiB, {file}:5)" in out
    assert "image=gpu_a_b: image (gpu_a_b): is not for alice in partition main" in out


def test_explain_for_programs(wnodes: Cli, file: str) -> None:
    told = json.loads(explained(wnodes, file, "--wish", "memory=1G", "--json")[1])
    assert told["values"]["memory"]["max"] == 2048
    assert told["values"]["memory"]["where"] == f"{file}:5"
    assert told["wishes"] == [{"wish": "memory=1G", "gets": "1024 MiB", "refused": ""}]


@pytest.mark.parametrize("wish", ["image=Worker", "cpus=some", "memory=lots"])
def test_a_wish_that_can_not_be_read_is_refused(wnodes: Cli, file: str, wish: str) -> None:
    code, out, _err = explained(wnodes, file, "--wish", wish)
    assert code == 1
    assert f"{wish}: " in out


def test_an_unknown_wish_and_a_missing_file_say_what_there_is(wnodes: Cli, file: str) -> None:
    code, out, err = explained(wnodes, file, "--wish", "net=1")
    assert (code, out, err) == (2, "", "wnodes: --wish (net=1): is not known; known: image, cpus, memory, scratch\n")
    for code, out, err in (explained(wnodes, file + "x"), wnodes("rules", "check", file + "x")):
        assert (code, out, err) == (1, "", f"wnodes: file of rules ({file}x): is not there\n")


def test_a_machine_without_rules_says_that_jobs_get_what_they_ask_for(
    wnodes: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rules, "RULES", str(tmp_path / "rules.yml"))
    code, out, err = wnodes("rules", "explain", "--user", "root", "--partition", "main", "--wish", "cpus=4")
    assert (code, err) == (0, "")
    assert out.startswith(rules.NO_RULES)
    assert out.endswith("cpus=4: gets 4\n")
    assert wnodes("rules", "check") == (0, f"{rules.NO_RULES}\n", "")


def test_a_user_that_the_machine_does_not_know_is_not_taken_for_one_without_groups(wnodes: Cli, file: str) -> None:
    ask = ("rules", "explain", "--user", "no-such-user", "--partition", "main", "--file", file)
    code, out, err = wnodes(*ask)
    assert (code, out) == (1, "")
    assert "user no-such-user: this machine knows no such user; name the user's Unix groups with --group" in err
    assert wnodes(*ask, "--group", "physics")[0] == 0
