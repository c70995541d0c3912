# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hypervisor asks of the nameserver is what the directory offers."""

from __future__ import annotations

import inspect

import pytest

from wnodes.directory.base import Directory
from wnodes.hypervisor.ports import Nameserver


@pytest.mark.parametrize("name", [name for name in vars(Nameserver) if not name.startswith("_")])
def test_the_directory_fits(name: str) -> None:
    assert inspect.signature(getattr(Nameserver, name)) == inspect.signature(getattr(Directory, name))
