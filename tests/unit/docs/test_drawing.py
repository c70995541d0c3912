# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first pages show what the code draws, and it can be read on light and dark pages."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from docs import drawing
from tests.documents import ROOT

COMMITTED = ROOT / "docs" / "job.svg"
STATES = drawing.draw({"A": ["B", "C"], "B": [], "C": []}, ["C"])


def test_the_committed_picture_is_what_the_code_draws() -> None:
    assert COMMITTED.read_text() == drawing.draw_job(), "python -m docs.drawing docs/job.svg"


@pytest.mark.parametrize(("page", "image"), [("README.md", "docs/job.svg"), ("docs/index.md", "job.svg")])
def test_the_first_pages_show_the_picture_of_a_job(page: str, image: str) -> None:
    assert f"]({image})" in (ROOT / page).read_text()


@pytest.mark.parametrize("picture", [drawing.draw_job(), STATES])
def test_each_colour_has_its_counterpart_for_dark_pages(picture: str) -> None:
    light, _media, dark = re.sub(r"</?style>", "", picture.split("\n")[1]).partition(
        "@media (prefers-color-scheme:dark)"
    )
    coloured = [set(re.findall(r"([^{}]+)\{[^{}]*(?:fill|stroke):#", style)) for style in (light, dark[1:-1])]
    assert coloured[0] == coloured[1] != set()
    assert "#" not in re.sub(r"url\(#tip\)", "", picture.partition("</style>")[2])


@pytest.mark.parametrize("picture", [drawing.draw_job(), STATES])
def test_a_picture_is_well_formed_and_nothing_lies_outside(picture: str) -> None:
    drawn = ElementTree.fromstring(picture)
    width, height = (int(drawn.attrib[side]) for side in ("width", "height"))
    boxes = [box.attrib for box in drawn.iter("{http://www.w3.org/2000/svg}rect") if "x" in box.attrib]
    assert all(int(box["x"]) + int(box["width"]) <= width for box in boxes)
    assert all(int(box["y"]) + int(box["height"]) <= height for box in boxes)


def test_the_steps_of_a_job_are_numbered_and_joined() -> None:
    picture = drawing.draw_job()
    numbers = [int(number) for number in re.findall(r">(\d+)\. ", picture)]
    assert numbers == list(range(1, len(drawing.STEPS) + 1))
    # one path is the arrow's head
    assert picture.count("<path") == len(drawing.STEPS)
