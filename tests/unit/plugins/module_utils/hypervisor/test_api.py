# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever offers the API offers all of it, in the same words."""

from __future__ import annotations

import inspect

import pytest

from wnodes.hypervisor.api import HypervisorApi
from wnodes.hypervisor.client import HypervisorClient
from wnodes.hypervisor.fake import FakeHypervisor
from wnodes.hypervisor.service import Hypervisor


@pytest.mark.parametrize("offered", [Hypervisor, HypervisorClient, FakeHypervisor])
@pytest.mark.parametrize("name", sorted(HypervisorApi.__abstractmethods__))
def test_signatures(offered: type, name: str) -> None:
    assert inspect.signature(getattr(offered, name)) == inspect.signature(getattr(HypervisorApi, name))
