# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration of wnodes-hypervisor (``/etc/wnodes/hypervisor.yml``)."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass, field, replace
from typing import Tuple

from ..image.recipe.operations import Recipe, RemoteSyslog
from ..model.endpoint import endpoint
from ..model.errors import ConfigError, RequestError
from ..model.image import check_tag
from ..model.resources import Overheads, Resources
from ..nameserver.config import NameserverAccess

ACCELS = ("auto", "kvm", "qemu")
_BRIDGE = re.compile(r"[A-Za-z0-9._-]{1,15}\Z")


@dataclass(frozen=True)
class TemplateFlavour:
    """VMs that shall start fast from the first one on; sizes as jobs ask for them.

    :param tag: image tag
    :param cpus: CPUs
    :param memory_mib: memory, without the VM's own overhead
    :param scratch_mib: scratch disk; 0: none
    """

    tag: str
    cpus: int
    memory_mib: int
    scratch_mib: int = 0

    def __post_init__(self) -> None:
        try:
            check_tag(self.tag)
        except RequestError as error:
            raise ConfigError(
                object="template_flavours", value=error.value, reason=error.reason, hint=error.hint
            ) from None
        if self.cpus < 1 or self.memory_mib < 1 or self.scratch_mib < 0:
            raise ConfigError(
                object="template_flavours",
                value=str(self.resources),
                reason="must have CPUs and memory above 0, scratch 0 or more (MiB)",
            )

    @property
    def resources(self) -> Resources:
        """Return its size."""
        return Resources(self.cpus, self.memory_mib, self.scratch_mib)


@dataclass(frozen=True)
class HypervisorConfig:
    """What an administrator sets; times in seconds, sizes in MiB.

    :param host: this node's name in the directory
    :param nameserver: how the nameserver is reached
    :param state_dir: journal, VMs' files and image cache are below it
    :param run_dir: where the Unix socket is
    :param libvirt_uri: which libvirt makes the VMs
    :param bridge: the bridge VMs are on; empty: QEMU's user network (for trying things out)
    :param accel: ``auto`` boots a guest kernel with KVM once to see whether it works here; ``qemu`` is TCG
    :param overheads: what a VM costs beyond its request
    :param mounts_allowed: folders of this node that VMs may see, whole or in part
    :param max_starting: VMs that may be on their way from STARTING to READY at once
    :param boot_timeout_s: how long a guest may take until its agent answers
    :param personalise_timeout_s: how long its personalisation may take
    :param setup_timeout_s: how long a VM user's setup may take
    :param lease_ttl_s: how long a lease lasts without renewal
    :param heartbeat_s: how often nameserver and libvirt are asked
    :param orphan_delay_s: how long a VM of ours that the journal does not know is left alone
    :param overlay_mib: room that is booked there for what a VM writes to its root disk; 0: as much as its image's disk
        can hold
    :param image_authority: file (PEM) of the certificate authority that makes people signers of images
    :param image_signers: names of signers whose images boot here; empty: all of that authority
    :param min_free_mib: room that must be free below ``state_dir`` before VMs are offered
    :param image_cache_mib: room for images below ``state_dir``; 0: as much as there is
    :param image_scrub_s: how often all cached images are read again, to find what the disk has changed
    :param image_user: user that works on images for ``image_seal``, in a unit of its own; empty: this service's
    :param image_seal: what this node puts on each image, once, before its first VM; see the module ``image``
    :param template_cache_mib: room for templates below ``state_dir``; 0: none are made, and every VM boots
    :param template_flavours: what templates are made of before the first VM; others are made after it
    :param syslog_listen: this node's address on which VMs' syslog is received, UDP and TCP; empty: it is not
    :param syslog_port: port of both
    :param syslog_rate: messages a second of one VM, in the long run
    :param syslog_burst: messages of one VM at once; a boot makes some hundred
    :param metrics_listen: ``<address>:<port>`` at which Prometheus reads our metrics; empty: nowhere
    :param manage_listen: ``<address>:<port>`` at which the site's managers call, over mutual TLS; empty: nowhere
    :param broken_keep_s: how long a BROKEN VM is kept for people to look at, when nobody takes it away
    """

    host: str
    nameserver: NameserverAccess
    state_dir: str = "/var/lib/wnodes"
    run_dir: str = "/run/wnodes"
    libvirt_uri: str = "qemu:///system"
    bridge: str = "br.default"
    accel: str = "auto"
    overheads: Overheads = field(default_factory=Overheads)
    mounts_allowed: Tuple[str, ...] = ()
    max_starting: int = 2
    boot_timeout_s: float = 180.0
    personalise_timeout_s: float = 60.0
    setup_timeout_s: float = 60.0
    lease_ttl_s: float = 120.0
    heartbeat_s: float = 5.0
    orphan_delay_s: float = 300.0
    broken_keep_s: float = 600.0
    min_free_mib: int = 1024
    overlay_mib: int = 0
    image_authority: str = "/etc/wnodes/pki/ca.crt"
    image_signers: Tuple[str, ...] = ()
    image_cache_mib: int = 51200
    image_scrub_s: float = 86400.0
    image_user: str = ""
    image_seal: Recipe = field(default_factory=Recipe)
    template_cache_mib: int = 8192
    template_flavours: Tuple[TemplateFlavour, ...] = ()
    syslog_listen: str = ""
    syslog_port: int = 5514
    syslog_rate: float = 50.0
    syslog_burst: int = 1000
    metrics_listen: str = ""
    manage_listen: str = ""

    def __post_init__(self) -> None:
        if not self.host:
            raise ConfigError(object="host", value="''", reason="must name this node")
        if self.accel not in ACCELS:
            raise ConfigError(object="accel", value=repr(self.accel), reason=f"must be one of {', '.join(ACCELS)}")
        if self.bridge and not _BRIDGE.match(self.bridge):
            raise ConfigError(
                object="bridge", value=repr(self.bridge), reason="must be 1 to 15 of A-Z a-z 0-9 . _ -, or empty"
            )
        for key in ("state_dir", "run_dir"):
            self._check_folder(key, getattr(self, key))
        for folder in self.mounts_allowed:
            self._check_folder("mounts_allowed", folder)
        self._check_syslog()
        endpoint(self.metrics_listen, "metrics_listen")
        endpoint(self.manage_listen, "manage_listen")
        times = ("boot_timeout_s", "personalise_timeout_s", "setup_timeout_s", "heartbeat_s", "image_scrub_s")
        for key in ("max_starting", *times):
            if getattr(self, key) <= 0:
                raise ConfigError(object=key, value=str(getattr(self, key)), reason="must be more than 0")
        sizes = ("min_free_mib", "overlay_mib", "image_cache_mib", "template_cache_mib")
        for key in ("orphan_delay_s", "broken_keep_s", *sizes):
            if getattr(self, key) < 0:
                raise ConfigError(object=key, value=str(getattr(self, key)), reason="must be 0 or more")
        if self.lease_ttl_s < 3 * self.heartbeat_s:
            raise ConfigError(
                object="lease_ttl_s",
                value=f"{self.lease_ttl_s:g}",
                reason=f"must be at least three times heartbeat_s ({self.heartbeat_s:g})",
                hint="else one lost call could lose leases",
            )

    def _check_syslog(self) -> None:
        try:
            ipaddress.ip_address(self.syslog_listen or "::")
        except ValueError:
            raise ConfigError(
                object="syslog_listen", value=repr(self.syslog_listen), reason="must be an IP address, or empty"
            ) from None
        if not 1024 <= self.syslog_port < 65536:
            raise ConfigError(
                object="syslog_port",
                value=str(self.syslog_port),
                reason="must be 1024 to 65535",
                hint="the service may not use the ports below",
            )
        for key in ("syslog_rate", "syslog_burst"):
            if getattr(self, key) < 1:
                raise ConfigError(object=key, value=str(getattr(self, key)), reason="must be 1 or more")

    @staticmethod
    def _check_folder(key: str, folder: str) -> None:
        if not folder.startswith("/") or os.path.normpath(folder) != folder:
            raise ConfigError(object=key, value=repr(folder), reason="must be an absolute, normal path")

    @property
    def seal(self) -> Recipe:
        """What this node puts on each image: its recipe, and where the logs go."""
        if not self.syslog_listen or self.image_seal.remote_syslog is not None:
            return self.image_seal
        return replace(self.image_seal, remote_syslog=RemoteSyslog(self.syslog_listen, self.syslog_port))
