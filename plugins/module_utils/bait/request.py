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
from typing import Any, Dict, Optional, Tuple

from ..lrms.base import LrmsJob, Wish
from ..model.errors import RequestError
from ..model.image import check_tag
from ..model.job import Job, JobRequest
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

    def granted(self, wish: Wish, job: LrmsJob) -> Granted:
        """Return what the job gets.

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
        scratch, most = limits.granted("scratch", asked) if limits else asked, self._config.max_scratch_mib
        if scratch > most:
            raise RequestError(
                object="scratch", value=f"{scratch} MiB", reason=f"is more than a VM may have here ({most} MiB)"
            )
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


@dataclass(frozen=True)
class Mark:
    """What we write into the LRMS's job, for us and for people: ``wnodes:<request id>:<bait>:<attempt> <reason>``."""

    id: str
    bait: str
    attempt: int
    reason: str = ""

    def __str__(self) -> str:
        text = f"wnodes:{self.id}:{self.bait}:{self.attempt}"
        plain = re.sub(r"[^\x20-\x7e]|[='\"\\]", " ", self.reason)
        return f"{text} {plain}"[:1000].strip()

    @classmethod
    def parse(cls, text: str) -> Optional[Mark]:
        """Return the mark in ``text``; None where there is none of ours."""
        match = re.match(r"wnodes:([a-z0-9-]+):([^:\s]+):([0-9]{1,6})(?:\s+(.*))?\Z", text)
        return cls(match.group(1), match.group(2), int(match.group(3)), match.group(4) or "") if match else None
