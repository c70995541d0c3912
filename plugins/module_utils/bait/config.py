# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration of wnodes-bait (``/etc/wnodes/bait.yml``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Tuple

from ..lrms.slurm_commands import SlurmConfig
from ..model.endpoint import endpoint
from ..model.errors import ConfigError, RequestError
from ..model.image import check_tag
from ..model.resources import Overheads
from ..model.vm import Mount
from ..nameserver.config import NameserverAccess


@dataclass(frozen=True)
class PoolFlavour:
    """VMs of one kind that shall wait for jobs.

    :param tag: image tag
    :param cpus: CPUs, just as many as the job asks for
    :param memory_mib: what the job may use; the VM's own overhead comes on top
    :param scratch_mib: 0: what a job gets that asks for none
    :param waiting: how many, where the node has room
    """

    tag: str
    cpus: int
    memory_mib: int
    scratch_mib: int = 0
    waiting: int = 1

    def __post_init__(self) -> None:
        try:
            check_tag(self.tag)
        except RequestError as error:
            raise ConfigError(
                object="pool flavour tag", value=error.value, reason=error.reason, hint=error.hint
            ) from None
        for key, least in {"cpus": 1, "memory_mib": 1, "scratch_mib": 0, "waiting": 1}.items():
            value = getattr(self, key)
            if value < least:
                raise ConfigError(object=f"pool flavour {key}", value=str(value), reason=f"must be {least} or more")


@dataclass(frozen=True)
class PoolConfig:
    """VMs that wait for jobs, in what jobs leave free of the node; times in seconds.

    :param flavours: kinds of which there is always a number, where there is room
    :param learn: how many may wait of any other kind that jobs asked for lately; 0: none
    :param learn_s: how long a job is remembered for that
    :param calm_s: how long no VM is made after one had to go because jobs needed its room
    :param offer: let the LRMS send jobs straight to VMs that wait
    :param reuse_s: how long a VM waits for another job of the user whose job it has run, from its making on;
        0: a VM never sees a second job
    :param reuse_jobs: how many jobs such a VM may run
    """

    flavours: Tuple[PoolFlavour, ...] = ()
    learn: int = 0
    learn_s: float = 3600.0
    calm_s: float = 20.0
    offer: bool = False
    reuse_s: float = 0.0
    reuse_jobs: int = 10

    def __post_init__(self) -> None:
        for key in ("learn", "learn_s", "calm_s", "reuse_s"):
            if getattr(self, key) < 0:
                raise ConfigError(object=f"pool.{key}", value=str(getattr(self, key)), reason="must be 0 or more")
        if self.reuse_jobs < 2:
            raise ConfigError(object="pool.reuse_jobs", value=str(self.reuse_jobs), reason="must be 2 or more")
        kinds = [(f.tag, f.cpus, f.memory_mib, f.scratch_mib) for f in self.flavours]
        if len(set(kinds)) != len(kinds):
            raise ConfigError(object="pool.flavours", value=str(kinds)[:200], reason="names the same kind twice")


@dataclass(frozen=True)
class BaitConfig:
    """What an administrator sets; times in seconds, sizes in MiB.

    :param host: this node's name in the directory
    :param slurm: how we use Slurm
    :param overheads: what a VM costs beyond its job's request; the hypervisor's must be the same
    :param mounts: folders of the node that each VM gets
    :param default_scratch_mib: scratch disk of a job that asks for none; 0: no scratch disk
    :param max_scratch_mib: the largest scratch disk a job may ask for; 0: all that the disk of ``state_dir`` has
    :param rules: file of the site's rules; empty: there are none
    :param nameserver: how the nameserver is reached
    :param pool: VMs that wait for jobs
    :param state_dir: the journals are in it
    :param run_dir: where the Unix sockets are
    :param heartbeat_s: how often the nameserver is told that this bait is alive
    :param poll_s: how often the LRMS is asked about our jobs
    :param place_timeout_s: how long the VM's share of the node may take to be free
    :param vm_timeout_s: how long a VM may take to be ready
    :param join_timeout_s: how long a ready VM may take to join the LRMS, and a freed job to start there
    :param limit_timeout_s: how long a VM may wait for its job while the LRMS does not let that run for a limit
    :param max_attempts: how often a job's VM may end while the job runs before the job is held
    :param metrics_listen: ``<address>:<port>`` at which Prometheus reads our metrics; empty: nowhere
    :param manage_listen: ``<address>:<port>`` at which the site's managers call, over mutual TLS; empty: nowhere
    :param backoff_s: first pause before a failed job is started again; doubled each time, at most ``max_backoff_s``
    :param max_backoff_s: longest such pause
    """

    host: str
    slurm: SlurmConfig
    nameserver: NameserverAccess
    overheads: Overheads = field(default_factory=Overheads)
    mounts: Tuple[Mount, ...] = ()
    pool: PoolConfig = field(default_factory=PoolConfig)
    default_scratch_mib: int = 0
    max_scratch_mib: int = 0
    rules: str = ""
    state_dir: str = "/var/lib/wnodes"
    run_dir: str = "/run/wnodes"
    heartbeat_s: float = 5.0
    poll_s: float = 2.0
    place_timeout_s: float = 60.0
    vm_timeout_s: float = 200.0
    join_timeout_s: float = 120.0
    limit_timeout_s: float = 600.0
    max_attempts: int = 3
    backoff_s: float = 30.0
    max_backoff_s: float = 600.0
    metrics_listen: str = ""
    manage_listen: str = ""

    def __post_init__(self) -> None:
        endpoint(self.metrics_listen, "metrics_listen")
        endpoint(self.manage_listen, "manage_listen")
        for key in (
            "heartbeat_s",
            "poll_s",
            "place_timeout_s",
            "vm_timeout_s",
            "join_timeout_s",
            "limit_timeout_s",
            "max_attempts",
        ):
            if getattr(self, key) <= 0:
                raise ConfigError(object=key, value=str(getattr(self, key)), reason="must be more than 0")
        for key in ("default_scratch_mib", "max_scratch_mib", "backoff_s", "max_backoff_s"):
            if getattr(self, key) < 0:
                raise ConfigError(object=key, value=str(getattr(self, key)), reason="must be 0 or more")
