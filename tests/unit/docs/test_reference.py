# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The generated pages say what the code says."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

import pytest

from docs import reference
from wnodes.bait.config import BaitConfig
from wnodes.hypervisor.config import HypervisorConfig
from wnodes.model.states import JOB_MOVES
from wnodes.nameserver.config import NameserverConfig

PAGES = reference.pages()


@dataclass(frozen=True)
class Inner:
    """What is inside.

    :param size: its size
    """

    size: float = 2.0


@dataclass(frozen=True)
class Outer:
    """A file, `<role>.yml`.

    :param name: ``<host>``, or <host>
        on two lines
    :param inner: what is inside
    """

    name: str
    inner: Inner = dataclasses.field(default_factory=Inner)


@dataclass(frozen=True)
class Undescribed:
    """A file."""

    colour: str = "red"


@pytest.mark.parametrize("kind", [NameserverConfig, HypervisorConfig, BaitConfig])
def test_every_key_of_a_service_is_on_the_page_of_configuration_files(kind: type) -> None:
    told = set(re.findall(r"^\| `(\w+)` \|", PAGES["configuration.md"], re.MULTILINE))
    assert {field.name for field in dataclasses.fields(kind)} - told == set()


def test_a_key_is_told_with_type_default_meaning_and_the_variable_that_sets_it() -> None:
    row = "| `template_cache_mib` | whole number | `8192` | room for templates below `state_dir`; 0: none are made"
    assert row in PAGES["configuration.md"]
    assert "| `bait_slurm`, `runtime_node` |" in PAGES["configuration.md"]


def test_a_mapping_has_a_table_of_its_own_and_angle_brackets_are_no_html() -> None:
    outer, inner = reference.sections(Outer, "x.yml", {"": "`others`", "name": "`host_name`"})
    assert "| `name` | text | must be given | `<host>`, or &lt;host> on two lines | `host_name` |" in outer
    assert "| `inner` | [mapping](#xyml-inner) |  | what is inside | `others` |" in outer
    assert "### x.yml: inner" in inner
    assert "| `size` | number | `2` | its size |" in inner


def test_a_key_without_a_meaning_stops_the_build() -> None:
    with pytest.raises(reference.UndescribedError, match=r"Undescribed: colour has no :param"):
        list(reference.sections(Undescribed, "x.yml", {}))


def test_the_picture_of_a_job_has_each_state_and_each_move() -> None:
    picture = PAGES["a-virtual-job.svg"]
    assert set(re.findall(r">([A-Z_]+)</text>", picture)) == {state.value for state in JOB_MOVES}
    # one path is the arrow's head
    assert picture.count("<path") == sum(map(len, JOB_MOVES.values())) + 1


def test_each_playbook_says_what_it_is_for_and_on_whom_it_works() -> None:
    assert "## image_rollout\n\nRolls out the newest published image of a tag, group by group" in PAGES["playbooks.md"]
    assert "| Run hypervisor and bait | `wnodes_nodes` |" in PAGES["playbooks.md"]
