# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job's --constraint means for its image."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.lrms.slurm_fixture import Played, slurm
from wnodes.lrms.base import Wish
from wnodes.lrms.slurm_constraint import images, tags
from wnodes.model.errors import RequestError
from wnodes.model.job import Dispatch

NODE = ("bait", "ssd")


@pytest.mark.parametrize(
    ("constraint", "found"),
    [
        ("vm_a", ("a",)),
        ("vm_a*1", ("a",)),
        ("vm_a&ssd", ("a",)),
        ("ssd&vm_a&bait", ("a",)),
        ("[vm_a|vm_b]", ("a", "b")),
        ("vm_b|vm_a", ("b", "a")),
        ("vm_a|bait", ("a",)),
        ("(vm_a|vm_b)&ssd", ("a", "b")),
        ("[(vm_a&gpu)|(vm_b&ssd)]", ("b",)),
        ("vm_a,ssd", ("a",)),
        ("[vm_a*1]", ("a",)),
    ],
)
def test_every_expression_that_matched_the_node_finds_the_images_that_match(
    constraint: str, found: tuple[str, ...]
) -> None:
    assert images(constraint, NODE) == found


@pytest.mark.parametrize(
    "constraint",
    [
        "vm_a&vm_b",
        "vm_a&gpu",
        "vm_a*2",
        "[vm_a*1&ssd*2]",
        "vm_a&",
        "&vm_a",
        "(vm_a",
        "vm_a)",
        "vm_a ssd",
        "vm_a|$(id)",
        "",
    ],
)
def test_what_no_vm_of_one_image_is_or_can_not_be_read_is_refused(constraint: str) -> None:
    with pytest.raises(RequestError):
        images(constraint, NODE)


def test_tags_are_named_once_in_their_order() -> None:
    assert tags("vm_b&ssd|vm_a|vm_b") == ("b", "a")
    assert tags("novm_x&gpu") == ()


@given(st.text(max_size=40))
def test_no_text_does_anything_but_be_read_or_refused(text: str) -> None:
    try:
        assert set(images(text, NODE)) <= set(tags(text))
    except RequestError:
        pass


def test_features_beyond_the_image_are_looked_up_at_the_node() -> None:
    node = "NodeName=hv1 AvailableFeatures=bait,ssd,vm_a,vm_b\n"
    backend = slurm(Played(scontrol_show=node))

    def wished(constraint: str) -> Wish | None:
        return backend.wish(Dispatch("prolog", "7", {"SLURM_JOB_CONSTRAINTS": constraint}))

    assert wished("vm_a&ssd") == Wish("a")
    assert wished("[vm_b|vm_a]") == Wish("b", {}, ("a",))
    with pytest.raises(RequestError):
        wished("vm_a&gpu")
