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
from ..model.vm import MAX_LABEL, Move
from .config import BaitConfig

_SIZE = re.compile(r"([0-9]{1,9})([KMGT]?)\Z")
_UNITS = {"K": 1 / 1024, "M": 1, "": 1, "G": 1024, "T": 1024 * 1024}
_OPTIONS = ("scratch",)


def size_mib(text: str, what: str) -> int:
    """Return a size such as ``2G`` or ``512`` (MiB) in MiB, rounded up; RequestError names ``what``."""
    match = _SIZE.match(text)
    if not match:
        raise RequestError(object=what, value=text[:80], reason="is not a size", hint="for example 2G or 512M")
    return -int(-int(match.group(1)) * _UNITS[match.group(2)] // 1)


def job_request(wish: Wish, job: LrmsJob, config: BaitConfig) -> JobRequest:
    """Return what the job gets.

    :raises RequestError: a wish that this site never grants
    """
    for key, value in wish.options.items():
        if key not in _OPTIONS:
            raise RequestError(
                object=f"wish {key}", value=value[:80], reason="is not known here", hint="known: " + ", ".join(_OPTIONS)
            )
    if job.nodes != 1:
        raise RequestError(
            object="nodes", value=str(job.nodes), reason="a job in a VM has one node", hint="submit with -N 1"
        )
    scratch = max(config.default_scratch_mib, job.resources.scratch_mib)
    if "scratch" in wish.options:
        scratch = max(job.resources.scratch_mib, size_mib(wish.options["scratch"], "scratch"))
    if scratch > config.max_scratch_mib:
        raise RequestError(
            object="scratch",
            value=f"{scratch} MiB",
            reason=f"is more than a VM may have here ({config.max_scratch_mib} MiB)",
        )
    return JobRequest(check_tag(wish.tag), replace(job.resources, scratch_mib=scratch), config.mounts)


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
