# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long to wait before something that failed is tried again."""

from __future__ import annotations

#: doublings after which any first pause is longer than any longest one
_DOUBLINGS = 64


def backoff(failures: int, first_s: float, longest_s: float) -> float:
    """Return the seconds to wait after so many failures in a row: ``first_s``, doubled with each more.

    :param failures: any number, also one that has grown for months
    :param longest_s: never more than this
    """
    return min(first_s * 2.0 ** min(max(failures - 1, 0), _DOUBLINGS), longest_s)
