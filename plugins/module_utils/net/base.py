# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seam of the node's network."""

from __future__ import annotations

from abc import ABC, abstractmethod

from .plan import BridgeDifference


class Network(ABC):
    """How a node's bridges come to be. A call that fails leaves the network as it was, and says so."""

    @abstractmethod
    def bridge_difference(self, name: str, uplink: str, present: bool = True) -> BridgeDifference:
        """Compute what separates the node from having (or not having) bridge ``name`` before ``uplink``.

        :raises NetworkError: the devices do not allow it, or could not be read
        :raises StateError: the bridge shall go and is in use
        """

    @abstractmethod
    def apply(self, difference: BridgeDifference) -> None:
        """Make the difference disappear; return when the network is as wanted.

        :raises NetworkError: it did not come about in time; what was there before is back, or the error says what not
        """
