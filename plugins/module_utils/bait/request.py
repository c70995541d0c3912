# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a job says to what it gets: wishes checked against the site's limits, and our mark in the LRMS's job."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import uuid
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, Optional, Tuple

from ..lrms.base import LrmsJob, Wish
from ..model.disk import disk
from ..model.errors import RequestError
from ..model.image import check_tag
from ..model.job import Dispatch, Job, JobRequest
from ..model.mark import Mark
from ..model.states import JobState
from ..model.vm import MAX_LABEL, Mount, Move
from .config import BaitConfig
from .rules import AllowRule, RangeRule, Rules, Submitter, Values, fits_any

_SIZE = re.compile(r"([0-9]{1,9})([KMGT]?)\Z")
_UNITS = {"K": 1 / 1024, "M": 1, "": 1, "G": 1024, "T": 1024 * 1024}
_OPTIONS = ("scratch",)


def size_mib(text: str, what: str) -> int:
    """Return a size such as ``2G`` or ``512`` (MiB) in MiB, rounded up; RequestError names ``what``."""
    match = _SIZE.match(text)
    if not match:
        raise RequestError(object=what, value=text[:80], reason="is not a size", hint="for example 2G or 512M")
    return -int(-int(match.group(1)) * _UNITS[match.group(2)] // 1)


@dataclass(frozen=True)
class Granted:
    """What a job gets, and by which rule: name of a value → ``file:line``, where a rule made it what it is."""

    request: JobRequest
    ruled: Dict[str, str]


class Grants:
    """What this site gives to jobs: what they ask for, within its configuration and its rules."""

    def __init__(self, config: BaitConfig, rules: Rules) -> None:
        self._config, self._rules = config, rules

    def default_image(self, user: str, partition: str) -> str:
        """Return the tag that a job gets which names none; empty: it stays a real job."""
        _who, ruled = self._ruled(user, partition)
        return ruled.image.tag if ruled.image else ""

    def _ruled(self, user: str, partition: str) -> Tuple[Submitter, Values]:
        # whom nothing can be for need not be looked up
        who = Submitter(user, groups(user) if self._rules.rules else (), partition)
        return who, self._rules.decide(who)

    def granted(self, wish: Wish, job: LrmsJob, node_mib: Callable[[], int] = lambda: 0) -> Granted:
        """Return what the job gets.

        :param node_mib: returns the memory of this node (MiB), for a job that wants all of it
        :raises RequestError: a wish that this site never grants
        """
        for key, value in wish.options.items():
            if key not in _OPTIONS:
                known = "known: " + ", ".join(_OPTIONS)
                raise RequestError(object=f"wish {key}", value=value[:80], reason="is not known here", hint=known)
        if job.nodes != 1:
            raise RequestError(
                object="nodes", value=str(job.nodes), reason="a job in a VM has one node", hint="submit with -N 1"
            )
        if job.unsupported:
            raise RequestError(object="job", reason=job.unsupported)
        if job.whole_memory:
            most = self._config.overheads.largest(node_mib() or job.resources.memory_mib)
            job = replace(job, resources=replace(job.resources, memory_mib=most))
        who, ruled = self._ruled(job.user, job.partition)
        tag = ruled.granted_image(check_tag(wish.tag), who)
        for what, limits, asked in (
            ("cpus", ruled.cpus, job.resources.cpus),
            ("memory", ruled.memory, job.resources.memory_mib),
        ):
            if limits:
                limits.granted(what, asked)
        scratch, usual = (self._scratch(wish, job, limits) for limits in (ruled.scratch, None))
        mounts = self._mounts(ruled.mounts)
        changed = {"image": not job.tag, "scratch": scratch != usual, "mounts": mounts != self._config.mounts}
        by = {name: value.where for name, value in ruled.named().items() if changed.get(name)}
        return Granted(JobRequest(tag, replace(job.resources, scratch_mib=scratch), mounts), by)

    def _scratch(self, wish: Wish, job: LrmsJob, limits: Optional[RangeRule]) -> int:
        usual, asked = self._config.default_scratch_mib, job.resources.scratch_mib
        if "scratch" in wish.options:
            asked = max(asked, size_mib(wish.options["scratch"], "scratch"))
        else:
            asked = max(asked, limits.otherwise(usual) if limits else usual)
        scratch = limits.granted("scratch", asked) if limits else asked
        most = self._config.max_scratch_mib or self._disk_mib(scratch)
        if scratch > most:
            raise RequestError(
                object="scratch", value=f"{scratch} MiB", reason=f"is more than a VM may have here ({most} MiB)"
            )
        return scratch

    def _disk_mib(self, scratch: int) -> int:
        """Return what the disk has in all; where that can't be seen, the hypervisor decides alone."""
        try:
            return disk(self._config.state_dir).total_mib
        except OSError:
            return scratch

    def _mounts(self, rule: Optional[AllowRule]) -> Tuple[Mount, ...]:
        mounts = self._config.mounts
        return mounts if rule is None else tuple(mount for mount in mounts if fits_any(mount.target, rule.allowed))


def printable(name: str) -> str:
    """Return the user's name for a job (anything) as one short line."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)[:MAX_LABEL]


def groups(user: str) -> Tuple[str, ...]:
    """Return the names of a user's Unix groups as this node knows them; none for a user it does not know."""
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return ()
    names = []
    for gid in os.getgrouplist(user, account.pw_gid):
        with contextlib.suppress(KeyError):
            names.append(grp.getgrgid(gid).gr_name)
    return tuple(sorted(names))


def labels(job: Job) -> Dict[str, str]:
    """Return what the logs of the job's VM are to be found by."""
    found = {"job": job.lrms_id, "job_name": job.name, "user": printable(job.user)}
    return {key: value for key, value in found.items() if value}


def readable(dispatch: Dispatch) -> Dispatch:
    """Return the dispatch with nothing in it that is no text: users may write any bytes."""
    text = {key: value.encode("utf-8", "replace").decode() for key, value in dispatch.environment.items()}
    return replace(dispatch, environment=text)


def told_by(seen: LrmsJob) -> Dict[str, Any]:
    """Return what the mark of a job that was dispatched tells of its past, as fields of :class:`Job`."""
    mark = Mark.parse(seen.mark) or Mark("", "", 1)
    return {
        "attempt": mark.attempt,
        "stops": mark.stops + 1,
        "restarts": max(0, seen.restarts - mark.stops),
        "crowded": mark.crowded,
        "avoided": mark.avoided,
        "kind": seen.kind,
    }


def received(seen: LrmsJob, asked: JobRequest, now: float, **known: Any) -> Job:
    """Return a new job of ours, RECEIVED at ``now``, for one of the LRMS's.

    :param known: further fields of :class:`Job`
    """
    return Job(
        id=uuid.uuid4().hex[:12],
        lrms_id=seen.id,
        user=seen.user,
        uid=seen.uid,
        request=asked,
        state=JobState.RECEIVED,
        history=(Move(JobState.RECEIVED.value, now),),
        **known,
    )


def fields(job: Job) -> Dict[str, str]:
    """Return what a log line about ``job`` carries."""
    return {"job": job.lrms_id, "vm": job.host, "image": job.request.tag}


def words(error: RequestError) -> str:
    """Return why something can't be had, for the user who asked for it: nothing of ours in it."""
    if not error.object.startswith("VM request"):
        return str(error)
    hint = f"; {error.hint}" if error.hint else ""
    return f"image {error.value}: {error.reason}{hint}" if error.value else f"{error.reason}{hint}"
