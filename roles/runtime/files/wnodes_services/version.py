# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which version runs."""

from __future__ import annotations

import importlib.metadata

try:
    #: what this process runs with; what is installed may meanwhile be newer
    VERSION = importlib.metadata.version("wnodes-farm")
except importlib.metadata.PackageNotFoundError:  # a checkout
    VERSION = ""
