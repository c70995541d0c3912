# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One lab for all tests: brought up, rolled out and given its image once; checked for leftovers after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e import lab


@pytest.fixture(scope="session", autouse=True)
def site() -> None:
    """The lab with the collection rolled out."""
    lab.begin()
    # a new lab counts its jobs from one again, and homes outlive it
    lab.sh("head", "rm -f /home/*/slurm-*.out /home/*/result.* /home/*/started.*")


@pytest.fixture(autouse=True)
def nothing_left(site: None) -> Iterator[None]:
    """Whatever a test did, its jobs leave nothing on any node."""
    yield
    for user in ("alice", "bob"):
        lab.ssh("head", "scancel", "-u", user)
    lab.until("the site to be clean", lambda: lab.left() == "", lab.CLEAN_S)
