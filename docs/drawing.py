# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A table of states as a picture (SVG): the usual way from top to bottom, what is beside it on the right."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

BOX_W, BOX_H, STEP = 150, 30, 58
#: left edge of the usual way, and of what is beside it
LEFT, RIGHT = 150, 450
MARGIN = 20

STYLE = (
    "text{font:13px sans-serif;text-anchor:middle;fill:#1b1f24}rect{fill:#eef3fa;stroke:#40658f;rx:6}"
    "rect.beside{fill:#fbf1e6;stroke:#9a6324}path{fill:none;stroke:#40658f;marker-end:url(#tip)}"
    "path.beside{stroke:#b98a57}"
)
TIP = (
    '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" style="fill:#40658f;stroke:none;marker-end:none"/></marker>'
)


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
    size = f'width="{RIGHT + BOX_W + MARGIN}" height="{height}" viewBox="0 0 {RIGHT + BOX_W + MARGIN} {height}"'
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n<defs>{TIP}</defs>\n'
        f'<rect width="100%" height="100%" style="fill:#fff;stroke:none"/>\n{body}\n</svg>\n'
    )


def _box(state: str, top: int, beside: bool) -> str:
    left, kind = (RIGHT, ' class="beside"') if beside else (LEFT, "")
    text = f'<text x="{left + BOX_W // 2}" y="{top + BOX_H // 2 + 5}">{state}</text>'
    return f'<rect{kind} x="{left}" y="{top}" width="{BOX_W}" height="{BOX_H}"/>{text}'


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
