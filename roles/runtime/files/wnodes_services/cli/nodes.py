# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls to many nodes at once, each with a deadline."""

from __future__ import annotations

import math
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wnodes.bait.client import BaitClient
from wnodes.hypervisor.client import HypervisorClient
from wnodes.model.errors import AuthError, UnavailableError, WnodesError

from . import site
from .common import FOUND_PROBLEM, UNREACHABLE, WELL

#: nodes that are called at the same time
WORKERS = 32
#: what a call may take beyond its limit: looking a name up, a handshake
GRACE_S = 2.0

#: the role of a service and its host
NodeService = tuple[str, str]
Client = BaitClient | HypervisorClient


@dataclass(frozen=True)
class CallOutcome:
    """What became of one call."""

    target: NodeService
    answer: Any = None
    error: WnodesError | None = None

    @property
    def host(self) -> str:
        """The node that was called."""
        return self.target[1]

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        said = {"host": self.host, "ok": self.error is None}
        return {**said, **({"error": self.error.as_dict()} if self.error else self.answer)}


def client(view: site.SiteView, target: NodeService, limit_s: float) -> Client:
    """Return a client of one service of one node: over its Unix socket there, else over mutual TLS.

    :raises UnavailableError: there is no way to it
    :raises AuthError: it is another node's, and the caller is not root
    """
    role, host = target
    kind: type[BaitClient] | type[HypervisorClient] = BaitClient if role == "bait" else HypervisorClient
    if view.scope == "node":
        return kind.local(site.socket(role), limit_s)
    if os.geteuid() != 0:
        raise AuthError(object=f"{role} of {host}", value=f"uid {os.geteuid()}", reason="only root may call it")
    service = view.of(role, host)
    name, _colon, port = str(service.detail.get("manage", "") if service else "").rpartition(":")
    if not name or not port.isdecimal():
        reason = "is not open to managers" if service else "was never heard of"
        hint = "the nodes' runtime_manage_address opens it" if service else "is it installed there?"
        raise UnavailableError(object=f"{role} of {host}", reason=reason, hint=hint)
    return kind.of_node(host, (name, int(port)), site.PKI_DIR, limit_s)


def each(
    targets: Sequence[NodeService],
    call: Callable[[NodeService], Any],
    limit_s: float,
    told: Callable[[CallOutcome], None],
) -> list[CallOutcome]:
    """Make a call to each target, many at once; return what became of them in the targets' order.

    :param limit_s: how long one call may take
    :param told: called with each outcome as soon as it is there
    """
    todo: queue.SimpleQueue[NodeService] = queue.SimpleQueue()
    done: queue.SimpleQueue[CallOutcome] = queue.SimpleQueue()
    for target in targets:
        todo.put(target)
    # daemons: a call that hangs in spite of its own limits must not keep the command from ending
    for _worker in range(min(WORKERS, len(targets))):
        threading.Thread(target=_work, args=(todo, done, call), daemon=True).start()
    end = time.monotonic() + (limit_s + GRACE_S) * math.ceil(len(targets) / WORKERS)
    found: dict[NodeService, CallOutcome] = {}
    while len(found) < len(targets):
        try:
            outcome = done.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            break
        found[outcome.target] = outcome
        told(outcome)
    for target in targets:
        if target not in found:
            late = UnavailableError(
                object=f"{target[0]} of {target[1]}", reason=f"did not answer within {limit_s:g} s",
                hint=f"give it longer with --timeout, or look there: `systemctl status wnodes-{target[0]}`",
            )  # fmt: skip
            found[target] = CallOutcome(target, error=late)
            told(found[target])
    return [found[target] for target in targets]


def _work(
    todo: queue.SimpleQueue[NodeService], done: queue.SimpleQueue[CallOutcome], call: Callable[[NodeService], Any]
) -> None:
    while True:
        try:
            target = todo.get_nowait()
        except queue.Empty:
            return
        try:
            outcome = CallOutcome(target, call(target))
        except WnodesError as error:
            outcome = CallOutcome(target, error=error)
        except Exception as error:  # an answer that makes no sense is that node's fault, not the others'
            what = f"{target[0]} of {target[1]}"
            outcome = CallOutcome(
                target, error=UnavailableError(object=what, reason=f"gave an unusable answer: {error!r}")
            )
        done.put(outcome)


def exit_code(outcomes: Sequence[CallOutcome]) -> int:
    """Return how a command ends after calls with these outcomes."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if any(isinstance(error, UnavailableError) for error in errors):
        return UNREACHABLE
    return FOUND_PROBLEM if errors else WELL
