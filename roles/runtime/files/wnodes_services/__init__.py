# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of a site and its command line: HTTP edges around the library `wnodes`. Python 3.11 and later."""

from __future__ import annotations


def version() -> str:
    """Return which version is installed; empty: this is a checkout."""
    import importlib.metadata  # it takes its time, and few need it

    try:
        return importlib.metadata.version("wnodes-farm")
    except importlib.metadata.PackageNotFoundError:
        return ""
