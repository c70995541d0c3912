# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures (SVG), for light and dark pages: tables of states, and the steps of a job from submission to its end.

``python -m docs.drawing FILE`` writes the latter, which the first pages show (``docs/job.svg``).
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

BOX_W, BOX_H, STEP = 150, 30, 58
#: left edge of the usual way, and of what is beside it
LEFT, RIGHT = 150, 450
MARGIN = 20

#: a picture brings its own ground, so that it can be read whatever the page around it has
STYLE = (
    "text{font:13px sans-serif;text-anchor:middle;fill:#1b1f24}.head{font-weight:bold}.small{font-size:11px}"
    ".ground{fill:#fff}.lane{fill:#f4f6f9}rect.box{fill:#eef3fa;stroke:#40658f}"
    "rect.beside{fill:#fbf1e6;stroke:#9a6324}path{fill:none;stroke:#40658f;marker-end:url(#tip)}"
    "path.beside{stroke:#b98a57}#tip path{fill:#40658f;stroke:none;marker-end:none}"
    "@media (prefers-color-scheme:dark){text{fill:#e6e9ee}.ground{fill:#15181d}.lane{fill:#1d2229}"
    "rect.box{fill:#24344a;stroke:#86abd6}rect.beside{fill:#40301c;stroke:#d6a566}path{stroke:#86abd6}"
    "path.beside{stroke:#b98a57}#tip path{fill:#86abd6}}"
)
TIP = (
    '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z"/></marker>'
)


@dataclass(frozen=True)
class Step:
    """One step of a job.

    :param lane: who takes it: an index of ``LANES``
    :param row: from the top
    :param said: in a few words
    :param more: what else is to be known, in a few words
    """

    lane: int
    row: int
    said: str
    more: str


#: who takes part, and what is to be known of each
LANES = (("User", ""), ("Slurm", ""), ("Node", "other jobs run beside it"), ("VM on this node", ""))
#: each but the last one leads to the next
STEPS = (
    Step(0, 0, "submits the job", "sbatch -C vm_&lt;image&gt;"),
    Step(1, 0, "sends it to a node", "by its usual rules"),
    Step(2, 0, "hook stops the job", "back in the queue, held"),
    Step(2, 1, "VM is created", "from the signed image"),
    Step(3, 1, "boots or is restored", "joins Slurm"),
    Step(1, 2, "moves the job", "to its VM"),
    Step(3, 3, "runs the job", "its script is unchanged"),
    Step(2, 4, "VM is destroyed", "the node is as before"),
    Step(0, 4, "gets the output", "and the exit code"),
)
LANE_W, STEP_W, STEP_H, ROW_H, HEAD_H = 196, 164, 46, 76, 64


def draw(moves: Mapping[str, Collection[str]], beside: Collection[str]) -> str:
    """Return the picture. States stand in the order of the table.

    :param moves: states and those that may follow each
    :param beside: states that are not on the usual way
    """
    usual = [state for state in moves if state not in beside]
    height = MARGIN * 2 + STEP * (len(usual) - 1) + BOX_H
    tops = {state: MARGIN + STEP * row for row, state in enumerate(usual)}
    gap = (height - 2 * MARGIN) / (len(beside) + 1)
    tops.update({state: round(MARGIN + gap * (row + 1) - BOX_H / 2) for row, state in enumerate(beside)})
    lines = [arrow for state, after in moves.items() for arrow in _arrows(state, after, usual, tops)]
    lines += [_box(state, top, state in beside) for state, top in tops.items()]
    return _picture(RIGHT + BOX_W + MARGIN, height, lines)


def _picture(width: int, height: int, lines: Collection[str]) -> str:
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n<defs>{TIP}</defs>\n'
        f'<rect class="ground" width="100%" height="100%"/>\n{body}\n</svg>\n'
    )


def _box(state: str, top: int, beside: bool) -> str:
    left, kind = (RIGHT, "beside") if beside else (LEFT, "box")
    text = f'<text x="{left + BOX_W // 2}" y="{top + BOX_H // 2 + 5}">{state}</text>'
    return f'<rect class="{kind}" x="{left}" y="{top}" width="{BOX_W}" height="{BOX_H}" rx="6"/>{text}'


def _arrows(state: str, after: Collection[str], usual: list[str], tops: Mapping[str, int]) -> Iterator[str]:
    for target in sorted(after, key=list(tops).index):
        start, end = tops[state] + BOX_H // 2, tops[target] + BOX_H // 2
        if state in usual and target in usual:
            rows = usual.index(target) - usual.index(state)
            if rows == 1:
                yield f'<path d="M{LEFT + BOX_W // 2} {tops[state] + BOX_H}V{tops[target]}"/>'
            else:
                # a jump, in a bow on the left: the longer, the wider
                bow = LEFT - 24 - 18 * abs(rows)
                yield f'<path d="M{LEFT} {start}C{bow} {start} {bow} {end} {LEFT} {end}"/>'
        else:
            here, there = (LEFT + BOX_W, RIGHT) if state in usual else (RIGHT, LEFT + BOX_W)
            middle = (here + there) // 2
            yield f'<path class="beside" d="M{here} {start}C{middle} {start} {middle} {end} {there} {end}"/>'


def draw_job() -> str:
    """Return the picture of a job's steps: a lane for each who takes part, from top to bottom."""
    height = HEAD_H + ROW_H * (max(step.row for step in STEPS) + 1)
    lines = [line for number in range(len(LANES)) for line in _lane(number, height)]
    lines += [_lead(step, after) for step, after in pairwise(STEPS)]
    lines += [_step(number, step) for number, step in enumerate(STEPS, 1)]
    return _picture(LANE_W * len(LANES), height, lines)


def _lane(number: int, height: int) -> Iterator[str]:
    name, more = LANES[number]
    yield f'<rect class="lane" x="{number * LANE_W + 4}" y="4" width="{LANE_W - 8}" height="{height - 8}" rx="8"/>'
    yield f'<text class="head" x="{_middle(number)}" y="28">{name}</text>'
    if more:
        yield f'<text class="small" x="{_middle(number)}" y="45">{more}</text>'


def _middle(lane: int) -> int:
    return lane * LANE_W + LANE_W // 2


def _top(step: Step) -> int:
    return HEAD_H + step.row * ROW_H


def _step(number: int, step: Step) -> str:
    middle, top = _middle(step.lane), _top(step)
    return (
        f'<rect class="box" x="{middle - STEP_W // 2}" y="{top}" width="{STEP_W}" height="{STEP_H}" rx="6"/>'
        f'<text x="{middle}" y="{top + 20}">{number}. {step.said}</text>'
        f'<text class="small" x="{middle}" y="{top + 36}">{step.more}</text>'
    )


def _lead(step: Step, after: Step) -> str:
    """Return the arrow from a step to the next: straight in a row or lane, else down from it and in from the side."""
    start, end = _middle(step.lane), _middle(after.lane)
    side = STEP_W // 2 if step.lane < after.lane else -STEP_W // 2
    down, across = _top(step) + STEP_H, _top(after) + STEP_H // 2
    if step.row == after.row:
        way = f"M{start + side} {across}H{end - side}"
    elif step.lane == after.lane:
        way = f"M{start} {down}V{_top(after)}"
    else:
        way = f"M{start} {down}C{start} {across} {start} {across} {end - side} {across}"
    return f'<path d="{way}"/>'


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw_job())
