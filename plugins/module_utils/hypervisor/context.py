# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the components of a hypervisor share; its service hands it to each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, TypeVar

from ..load import Stretch
from ..model.clock import Clock, Failpoints
from ..model.image import CachedImage
from ..virt.base import VmHost
from ..virt.channel import ChannelHub
from ..virt.surroundings import Surroundings
from .config import HypervisorConfig
from .disk_reservations import DiskReservations
from .files import VmFiles
from .ports import ImageSource, Nameserver, ReleaseAdmission
from .registry import Registry

T = TypeVar("T")

#: the step of maintenance that deletes what was thrown away
TRASH = ":trash"


@dataclass
class HypervisorContext:
    """The node's host, images, neighbours and records, and how to reach them.

    :param accel: tells what guests of an image run on
    :param node_problems: tells why the node itself can't have VMs now; empty when it can
    :param available_mib: tells how much memory the node could give away now
    :param pause: waits between two looks at a guest that nobody waits for
    :param disk: what is reserved of the disk
    :param stretch: tells how busy the node is: limits are those of a free one
    :param surroundings: tells what guests get of the node
    :param wake_maintenance: wakes a step of maintenance
    """

    config: HypervisorConfig
    vms: Registry
    host: VmHost
    images: ImageSource
    trust: ReleaseAdmission
    nameserver: Nameserver
    files: VmFiles
    channels: ChannelHub
    accel: Callable[[CachedImage], str]
    clock: Clock
    failpoints: Failpoints
    node_problems: Callable[[], str]
    available_mib: Callable[[], int]
    pause: Callable[[float], None]
    disk: DiskReservations
    stretch: Stretch
    surroundings: Callable[[], Surroundings]
    wake_maintenance: Callable[[str], None]

    def effect(self, name: str, effect: Callable[[], T]) -> T:
        """Do a side effect between two places at which tests can make us fail."""
        self.failpoints.hit(f"hypervisor.{name}")
        result = effect()
        self.failpoints.hit(f"hypervisor.{name}.done")
        return result
