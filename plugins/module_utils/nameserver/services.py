# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the site's services are, from what they last said at the nameserver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Tuple

from ..directory.base import Heartbeat
from .client import NameserverClient
from .service import told

#: a host that was silent for so many heartbeats is down
MISSED = 3

OK, PROBLEM, DOWN = "OK", "PROBLEM", "DOWN"


@dataclass(frozen=True)
class Service:
    """One service of the site.

    :param age_s: seconds since it was last heard of; 0 where it was asked directly
    :param detail: what else it tells, e.g. ``accel``, ``tags``, a bait's ``pool`` (see bait/pool.py), the nameserver's
        ``names`` that can be leased
    """

    role: str
    host: str
    state: str
    problems: Tuple[str, ...]
    age_s: float
    detail: Dict[str, Any]


def service(beat: Heartbeat, now: float, limit_s: float, heard: bool = True) -> Service:
    """Return the service that ``beat`` is from; it is down where it has been silent for more than ``limit_s``.

    :param heard: whether the nameserver has heard it; else the service was asked itself
    """
    age_s = max(0.0, now - beat.at)
    said = tuple(map(str, beat.status.get("problems", ())))
    # what was heard proves that it reaches the nameserver again
    problems = tuple(problem for problem in said if not (heard and problem.startswith("nameserver:")))
    state = OK if beat.status.get("ok") or (said and not problems) else PROBLEM
    if age_s > limit_s:
        state = DOWN
        problems = (f"silent for {age_s:.0f} s: the node is down, cut off, or wnodes-{beat.role}.service is", *problems)
    detail = {key: value for key, value in beat.status.items() if key not in ("ok", "problems", "jobs", "vms")}
    if "pool" in detail:
        detail["pool"] = told(beat, "pool")
    return Service(beat.role, beat.host, state, problems, age_s, detail)


def silence_limit_s(own: Dict[str, Any]) -> float:
    """Return after how many seconds of silence a service is down; ``own`` is the nameserver's status."""
    return MISSED * float(own["heartbeat_s"])


def nodes(directory: NameserverClient) -> List[Dict[str, Any]]:
    """Return each node by name, with its services, their problems, its virtual jobs under way and its VMs."""
    own = directory.status()
    found: Dict[str, Dict[str, Any]] = {}
    for beat in sorted(directory.heartbeats(), key=lambda beat: (beat.host, beat.role)):
        one = service(beat, float(own["now"]), silence_limit_s(own))
        node = found.setdefault(
            beat.host, {"name": beat.host, "ok": True, "problems": [], "services": {}, "jobs": [], "vms": []}
        )
        node["ok"] = node["ok"] and one.state == OK
        node["problems"] += [f"{one.role}: {problem}" for problem in one.problems]
        node["services"][one.role] = {"state": one.state, "age_s": round(one.age_s, 3), **one.detail}
        node["jobs"] += [job for job in told(beat, "jobs") if job.get("state") != "CLOSED"]
        node["vms"] += [vm for vm in told(beat, "vms") if vm.get("state") != "GONE"]
    return list(found.values())
