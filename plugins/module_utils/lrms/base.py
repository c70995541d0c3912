# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seam of the batch systems: our nouns, one abstract class. Native states are mapped to ours by each backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Enum
from typing import Callable, Container, Dict, Iterable, Mapping, Optional, Tuple

from ..model.job import Dispatch, Hold
from ..model.resources import Resources
from ..model.vm import GuestFile, GuestSetup


class LrmsJobState(str, Enum):
    """Where a job is, as its LRMS sees it."""

    PENDING = "PENDING"
    HELD = "HELD"
    RUNNING = "RUNNING"
    #: still leaving a node, whether it has ended or was put back
    COMPLETING = "COMPLETING"
    ENDED = "ENDED"
    CANCELLED = "CANCELLED"


class HostState(str, Enum):
    """Where a VM's host is in the LRMS."""

    ABSENT = "ABSENT"
    #: it has joined and takes no jobs
    CLOSED = "CLOSED"
    #: it is open, but the LRMS has not heard of it yet
    JOINING = "JOINING"
    READY = "READY"
    BUSY = "BUSY"
    DOWN = "DOWN"


@dataclass(frozen=True)
class LrmsJob:
    """What the LRMS knows of a job.

    :param host: node it runs or ran on, empty while it waits
    :param mark: our identity or reason in it, see ``Lrms.stop``
    :param resources: CPUs, memory (MiB), scratch disk (MiB) of the whole job
    :param exit_code: None until it has ended
    :param fixed: where it may go, in the LRMS's own terms, for comparing what we set with what is there
    :param number: another id that the hook may know it by; empty: none
    :param eligible: since when it could be started, in seconds since the epoch; 0 where that is not known
    :param partition: the partition or queue it was sent to
    :param tag: image tag that it names; empty: none
    :param reason: why it waits or was held, in the LRMS's own word; empty: for a free node, or it does not wait
    :param limited: whether it would wait for that on a node as well: a limit, a licence, another job
    :param impossible: whether that says that no node is what it asks for
    :param kind: jobs of the same kind have the same limits
    :param hold: who holds it; an administrator's hold may be ours
    :param shape: which keys of ``fixed`` decide whether a VM is right for it
    :param restarts: how often it was put back into the queue, by whomever
    :param whole_memory: it wants all the memory of its node, however much that is
    :param whole: id of the larger job that it is a part of, and can't be stopped without; empty: it stands alone
    :param unsupported: what it asks for that no VM has, in words; empty: nothing
    """

    id: str
    state: LrmsJobState
    user: str
    uid: int
    resources: Resources
    nodes: int = 1
    host: str = ""
    mark: str = ""
    exit_code: Optional[int] = None
    fixed: Dict[str, str] = field(default_factory=dict)
    number: str = ""
    eligible: float = 0.0
    partition: str = ""
    tag: str = ""
    reason: str = ""
    limited: bool = False
    impossible: bool = False
    kind: str = ""
    hold: Hold = Hold.NOBODY
    shape: Tuple[str, ...] = ()
    restarts: int = 0
    whole_memory: bool = False
    whole: str = ""
    unsupported: str = ""

    def reshaped(self, original: Mapping[str, str]) -> Tuple[str, ...]:
        """Return what its owner has changed since ``original`` was read so that a VM made for it is not right."""
        return tuple(key for key in self.shape if self.fixed.get(key) != original.get(key))


#: what ``Lrms.give_back`` has excluded for a job before, beside the LRMS's own terms
AVOIDED = "avoided"


@dataclass(frozen=True)
class NodeRoom:
    """What this node has for jobs.

    :param total: CPUs and memory (MiB) that the LRMS gives to jobs
    :param free: what of it no job has now
    :param open: whether the node takes new jobs, as far as others than we decide that
    """

    total: Resources
    free: Resources
    open: bool


@dataclass(frozen=True)
class Wish:
    """What a job says it wants, unchecked: an image tag and ``key=value`` wishes.

    :param others: further images that would do as well, the better ones first
    """

    tag: str
    options: Dict[str, str] = field(default_factory=dict)
    others: Tuple[str, ...] = ()


@dataclass(frozen=True)
class WorkerNode:
    """A VM as a host of the LRMS.

    :param offered: whether the LRMS may send jobs that want its image straight to it
    :param key: tells it from later VMs of the same name
    """

    name: str
    address: str
    resources: Resources
    tag: str
    offered: bool = False
    key: str = ""


#: returns the image tag that jobs of a user get in a partition; empty: none, they are real jobs
DefaultImage = Callable[[str, str], str]


def no_image(_user: str, _partition: str) -> str:
    """Return that jobs which name no image get none."""
    return ""


class Lrms(ABC):
    """One batch system. Every call is idempotent and bounded in time; LrmsError means nothing is known."""

    # reading

    @abstractmethod
    def wish(self, dispatch: Dispatch, default: DefaultImage = no_image) -> Optional[Wish]:
        """Return what the dispatched job wishes; None for a real job or one of our own.

        :param default: asked for the image of a job that names none
        :raises RequestError: the wish can't be read (two tags, a broken option)
        """

    @abstractmethod
    def placeholder_key(self, dispatch: Dispatch) -> str:
        """Return the key of our placeholder, if the dispatched job is one; else an empty text."""

    @abstractmethod
    def job(self, job_id: str) -> Optional[LrmsJob]:
        """Return the job; None if the LRMS knows no such job (any more)."""

    @abstractmethod
    def jobs(self, job_ids: Iterable[str]) -> Dict[str, LrmsJob]:
        """Return those of the jobs that the LRMS knows, in one call."""

    @abstractmethod
    def jobs_on(self, host: str) -> Tuple[LrmsJob, ...]:
        """Return the jobs that run on a host or are about to, the first one first."""

    @abstractmethod
    def name(self, job_id: str) -> str:
        """Return the user's name for the job, for people: it may hold anything; empty where there is none."""

    @abstractmethod
    def largest_node_mib(self, tag: str) -> int:
        """Return the memory (MiB) of the largest node that serves ``tag``; 0 if none does."""

    @abstractmethod
    def others_serve(self, tag: str) -> bool:
        """Return whether a job for ``tag`` could go to another node."""

    @abstractmethod
    def present(self) -> Dict[str, str]:
        """Return the runs of jobs that have processes on this node now, as the node itself tells: run → job's number.

        It asks no server, so it may be called each second. The key of a run is never another one's.
        """

    @abstractmethod
    def quarantine_s(self) -> float:
        """Return for how long (seconds) a job that has left a node must not come back to it.

        Sooner, that node could start it without asking us.
        """

    @abstractmethod
    def limit(self, job: LrmsJob) -> str:
        """Return why the job may not run now wherever it is, because of others of its kind; empty: nothing is known."""

    @abstractmethod
    def marked(self) -> Tuple[LrmsJob, ...]:
        """Return all jobs of the site that wait or are held and have a mark. This asks for all jobs: call it rarely."""

    @abstractmethod
    def room(self) -> NodeRoom:
        """Return what this node has for jobs."""

    # stopping a job and letting it go

    @abstractmethod
    def stop(self, job: LrmsJob, mark: str, placeholder: str = "") -> None:
        """Put the job, which is about to start here, back into the queue, held so that only administrators free it.

        A job that can't be put back (it has a terminal waiting for it, or is part of a larger one) is cancelled.

        :param job: as it was read a moment ago; its ``fixed`` is what has to be kept for undoing all this
        :param mark: text for ``LrmsJob.mark``, where users can read it and only administrators write it
        :param placeholder: id of one that waits (see ``place``) and has to take its share as the job leaves
        """

    @abstractmethod
    def requeue(self, job: LrmsJob, mark: str) -> bool:
        """Put a job that runs back into the queue, held as by ``stop``.

        Return False, having done nothing, where it can't begin again: it is interactive, or its owner forbade it.
        """

    @abstractmethod
    def cancel(self, job: LrmsJob, mark: str) -> None:
        """End a job for good; ``mark`` says why, and whoever waits for it at a terminal is told."""

    @abstractmethod
    def send(self, job: LrmsJob, host: str, original: Dict[str, str], mark: str) -> None:
        """Free the held job for ``host`` alone, which takes nobody else's jobs; all at once, or not at all.

        :param mark: holds ``original``, so that anybody can undo this
        """

    @abstractmethod
    def give_back(
        self,
        job_id: str,
        original: Dict[str, str],
        mark: str,
        after_s: float = 0.0,
        avoid_node: bool = False,
        hold: Hold = Hold.NOBODY,
    ) -> None:
        """Undo pin and hold: the job waits in the queue as before, marked ``mark``.

        What the site no longer has (a reservation that is over, a partition) is left out.

        :param after_s: seconds before it may be started again
        :param avoid_node: not on this node
        :param hold: who is to free it
        """

    @abstractmethod
    def adopt(self, known: Container[str]) -> Tuple[str, ...]:
        """Free the jobs, but for the ``known`` ones, that the hook had to stop alone; return their ids."""

    # the node's books

    @abstractmethod
    def place(self, key: str, resources: Resources, job: Optional[LrmsJob] = None) -> str:
        """Take ``resources`` off this node's books (ahead of any waiting job), once for each key; return its id.

        :param job: whose VM it is for: it takes them for as long as the job may run, where the job may run;
            None: not yet, ``stop`` does
        """

    @abstractmethod
    def offer(self, key: str, resources: Resources) -> str:
        """Take ``resources`` off this node's books for as long as no job needs them, once for each key; return its id.

        A job that does ends it.
        """

    @abstractmethod
    def keep(self, key: str, resources: Resources, job: LrmsJob) -> str:
        """Make what ``offer`` took stay taken, as ``place`` does; return the new id."""

    @abstractmethod
    def unplace(self, key: str) -> None:
        """Give back what ``place`` and ``offer`` took for ``key``."""

    @abstractmethod
    def placeholders(self) -> Dict[str, str]:
        """Return all placeholders of this node: key → id."""

    # VMs as hosts

    @abstractmethod
    def guest_setup(self, host: WorkerNode) -> GuestSetup:
        """Return what makes the VM join the LRMS, open to no job yet."""

    @abstractmethod
    def environment(self, job: LrmsJob, restarts: int) -> Tuple[GuestFile, ...]:
        """Return what a VM is told so that a job sees itself there as on the node that it was dispatched to.

        :param job: as it was read when it was about to start on the node
        :param restarts: how often it was restarted, our own doing left out
        """

    @abstractmethod
    def accounts(self, user: str = "") -> Tuple[GuestFile, ...]:
        """Return what makes the users of this node known in a VM, ``user`` among them.

        Nothing where the image knows its users by itself.
        """

    @abstractmethod
    def host(self, name: str) -> HostState:
        """Return the state of a VM's host."""

    @abstractmethod
    def open_host(self, name: str) -> None:
        """Protect a host that has joined, so that it takes jobs of nobody but root, and open it."""

    @abstractmethod
    def rehearsed(self, key: str, host: str) -> bool:
        """Let a host that waits in root's name run a job of ours that does nothing, once; return whether it has.

        A host that has run one is known to be able to, and runs the next one faster.

        :raises LrmsError: it could not
        """

    @abstractmethod
    def close_host(self, name: str) -> None:
        """Let no further job go to a host; the one that runs there goes on."""

    @abstractmethod
    def fail_host(self, name: str, reason: str) -> None:
        """Tell the LRMS that a host has died, so that it ends or requeues what ran there."""

    @abstractmethod
    def remove_host(self, name: str, key: str = "") -> None:
        """Remove a host and what protects it; with a ``key``, only if the host is that VM.

        Jobs that somebody has sent there without us are cancelled; one that carries a mark of ours is an error.
        """

    # the node

    @abstractmethod
    def advertised(self) -> Tuple[str, ...]:
        """Return the tags that the LRMS offers on this node."""

    @abstractmethod
    def inquiries(self) -> Dict[str, Tuple[str, ...]]:
        """Return commands (argv) that print what an expert would want to see of the LRMS, by name."""

    @abstractmethod
    def advertise(self, tags: Optional[Tuple[str, ...]], problem: str) -> bool:
        """Make the LRMS offer ``tags`` on this node (None: those it offers already).

        With a ``problem``, it takes no new jobs until called without.

        Return whether anything had to be changed.
        """
