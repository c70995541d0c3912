# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job waits for, in words for its user."""

from __future__ import annotations

from typing import Any, Dict

from ..model.codec import encode
from ..model.job import Hold, Job
from ..model.phases import phases
from ..model.states import JobState
from ..model.vm import told_apart

WAITS_FOR = {
    JobState.RECEIVED: "the batch system to take it back into the queue",
    JobState.HELD: "its share of the node to be free for its VM",
    JobState.VM_REQUESTED: "its VM to be ready",
    JobState.VM_READY: "its VM to join the batch system",
    JobState.MIGRATING: "the batch system to start it on its VM",
    JobState.RUNNING: "nothing: it runs on its VM",
    JobState.FINISHED: "nothing: it has ended; its VM is being taken away",
    JobState.CANCELLED: "nothing: it was cancelled; what was made for it is being taken away",
    JobState.RETURNED: "its return to the queue",
    JobState.REFUSED: "nothing: it stays held; its owner can cancel it, an administrator can let it go again",
}
_HELD = {
    Hold.OWNER: "its owner, who holds it, to release it",
    Hold.ADMINISTRATOR: "an administrator, who holds it, to release it",
}
_ENDED_AS = {
    JobState.FINISHED: "it has ended",
    JobState.CANCELLED: "it was cancelled before it started",
    JobState.RETURNED: "the batch system to dispatch it again",
    JobState.REFUSED: WAITS_FOR[JobState.REFUSED],
}


def _waits_for(job: Job) -> str:
    if job.outcome is not None:
        held = job.outcome is JobState.RETURNED and job.hold is not Hold.NOBODY
        return _HELD[job.hold] if held else _ENDED_AS[job.outcome]
    if job.state is JobState.HELD and job.limit:
        return "others of its kind, whose limit it is"
    return WAITS_FOR[job.state]


def explain(job: Job, now: float, native: str = "") -> Dict[str, Any]:
    """Return the job as plain data, with ``waits_for`` (text), ``outcome``, ``seconds`` (state → seconds), ``phases``
    (phase → seconds, in order; see model/phases.py) and ``console``, the last lines of that of its VM that failed."""
    outcome = job.outcome
    reason, console = told_apart(job.reason)
    waits_for = _waits_for(job)
    return {
        **encode(job),
        "reason": reason,
        "console": console,
        "outcome": outcome.value if outcome else None,
        "waits_for": f"{waits_for} ({native})" if native else waits_for,
        "seconds": {state: round(spent, 3) for state, spent in job.seconds(now).items()},
        "phases": phases(job),
    }
