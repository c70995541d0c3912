# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``wnodes drain`` and ``undrain``: nodes that take no new jobs."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.text import Text

from wnodes.bait.client import BaitClient
from wnodes.bait.drain import THEN, WAIT, DrainWish
from wnodes.model.errors import AuthError, NotFoundError, RequestError, WnodesError

from . import nodes, show, site
from .common import (
    FOUND_PROBLEM,
    REFRESH_S,
    UNREACHABLE,
    WELL,
    Json,
    Timeout,
    complain,
    complete_hosts,
    print_json,
    view_of,
)
from .common import seconds as seconds_of

#: how long ``--wait`` waits beyond the deadline, and where there is none
AFTER_S, LONGEST_S = 600.0, 86400.0

#: how parts of a wish are typed
OPTIONS = {"drain: reason": "--reason", "drain: deadline_s": "--deadline", "drain: then": "--then"}

HostsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="HOSTS", help="Names, shell patterns (hv*), lists (node[01-04,7]).", autocompletion=complete_hosts
    ),
]


def drain(
    hosts: HostsArgument,
    reason: Annotated[str, typer.Option(help="Why, for others.")],
    deadline: Annotated[str, typer.Option(metavar="TIME", help="How long jobs may go on, for example 2h.")] = "",
    then: Annotated[
        str, typer.Option(help=f"What becomes of jobs after the deadline: {' or '.join(THEN)}.", metavar="|".join(THEN))
    ] = WAIT,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the nodes are empty.")] = False,
    wait_limit: Annotated[
        str, typer.Option(metavar="TIME", help="How long --wait waits; by default 10m after the deadline, or a day.")
    ] = "",
    timeout: Timeout = 10.0,
    as_json: Json = False,
) -> None:
    """Drain nodes: they take no new jobs; running jobs go on, waiting VMs are removed (as root)."""
    wish = DrainWish(reason, seconds_of(deadline, "--deadline") if deadline else None, then)
    try:
        wish.check()
    except RequestError as error:
        option = OPTIONS.get(error.object, error.object)
        raise RequestError(object=option, value=error.value, reason=error.reason, hint=error.hint) from None
    limit_s = seconds_of(wait_limit, "--wait-limit") if wait_limit else _limit_s(wish)
    told, outcomes = _call(hosts, lambda bait: bait.drain(wish), timeout, as_json)
    code = nodes.exit_code(outcomes)
    if wait:
        orders = {outcome.host: outcome.answer["drain"] for outcome in outcomes if outcome.error is None}
        state, ended = wait_until_empty(orders, limit_s, timeout, as_json)
        told = [{**item, "drain": state.get(item["host"], item.get("drain"))} for item in told]
        code = max(code, ended)
    if as_json:
        print_json(told)
    raise typer.Exit(code)


def undrain(hosts: HostsArgument, timeout: Timeout = 10.0, as_json: Json = False) -> None:
    """Let drained nodes take jobs again (as root)."""
    told, outcomes = _call(hosts, lambda bait: bait.undrain(), timeout, as_json)
    if as_json:
        print_json(told)
    raise typer.Exit(nodes.exit_code(outcomes))


def _limit_s(wish: DrainWish) -> float:
    return LONGEST_S if wish.deadline_s is None else wish.deadline_s + AFTER_S


def _call(
    hosts: Sequence[str], action: Any, timeout_s: float, quiet: bool
) -> tuple[list[dict[str, Any]], list[nodes.CallOutcome]]:
    view = view_of(list(hosts))
    if view.scope == "site" and not view.nodes:
        raise NotFoundError(object=", ".join(hosts), reason="is not a node that runs jobs", hint="see `wnodes hosts`")

    def tell(outcome: nodes.CallOutcome) -> None:
        if outcome.error is not None:
            complain(f"{outcome.host}: {outcome.error}")
        elif not quiet:
            _say(outcome.host, outcome.answer)

    outcomes = nodes.each(
        [("bait", host) for host in view.nodes], lambda target: action(_bait(view, target, timeout_s)), timeout_s, tell
    )
    return [outcome.plain() for outcome in outcomes], outcomes


def _bait(view: site.SiteView, target: nodes.NodeService, limit_s: float) -> BaitClient:
    bait = nodes.client(view, target, limit_s)
    assert isinstance(bait, BaitClient)
    return bait


def _say(host: str, answer: dict[str, Any]) -> None:
    state = show.drained(answer["drain"]) if answer["drain"] else "takes jobs"
    print(f"{host}: {state}{'' if answer['changed'] else ' (unchanged)'}")
    for problem in answer["problems"]:
        complain(f"{host}: {problem}")


# waiting


def wait_until_empty(
    orders: Mapping[str, Any], limit_s: float, timeout_s: float, quiet: bool
) -> tuple[dict[str, Any], int]:
    """Return what is told of the hosts' drains when all are empty or the time is over, and how the command ends.

    :param orders: by host, what its bait told of the order when it took it
    """
    end, console = time.monotonic() + limit_s, show.console()
    on_terminal = console.is_terminal and not quiet
    with Live(console=console, auto_refresh=False, transient=True) if on_terminal else _Lines(quiet) as shown:
        while True:
            state, silent = _states(orders, timeout_s)
            left = [host for host in orders if host in silent or not (state[host] or {}).get("empty")]
            shown.update(Text("\n".join(_line(host, state, silent) for host in orders)), refresh=True)
            # a node whose drain was lifted does not become empty by waiting
            if all(host in state and not state[host] for host in left) or time.monotonic() >= end:
                break
            time.sleep(REFRESH_S)
    for host in left:
        complain(f"{host}: not empty after {limit_s:g} s" if state.get(host) else _line(host, state, silent))
    return state, WELL if not left else UNREACHABLE if silent else FOUND_PROBLEM


def _states(orders: Mapping[str, Any], timeout_s: float) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the baits tell of their drains (None: lifted), and why nothing is known of the other ones."""
    try:
        view = view_of(None)
    except AuthError:
        raise
    except WnodesError as error:  # the nameserver may well be restarted meanwhile
        return {}, dict.fromkeys(orders, str(error))
    state: dict[str, Any] = {}
    silent: dict[str, str] = {}
    doubtful: list[nodes.NodeService] = []
    for host, order in orders.items():
        bait = view.of("bait", host)
        told = bait.detail.get("drain") if bait else None
        if bait is None or bait.state == site.DOWN:
            silent[host] = bait.problems[0] if bait else "its bait was forgotten"
        elif told and told["since"] >= order["since"]:
            state[host] = told
        else:  # a heartbeat that does not know the order may be older than it: the bait itself can say
            doubtful.append(("bait", host))

    def tell(outcome: nodes.CallOutcome) -> None:
        if outcome.error is None:
            state[outcome.host] = outcome.answer["drain"]
        else:
            silent[outcome.host] = str(outcome.error)

    nodes.each(doubtful, lambda target: _bait(view, target, timeout_s).status(), timeout_s, tell)
    return state, silent


def _line(host: str, state: Mapping[str, Any], silent: Mapping[str, str]) -> str:
    if host in silent:
        return f"{host}: {silent[host]}"
    return f"{host}: {show.drained(state[host]) if state[host] else 'somebody has lifted its drain'}"


class _Lines:
    """Prints what has changed since it was last told, for logs and pipes."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._seen = quiet, set[str]()

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_error: object) -> None:
        sys.stdout.flush()

    def update(self, text: Text, *, refresh: bool) -> None:
        """Print the lines that are new."""
        lines = text.plain.splitlines()
        for line in lines if not self._quiet else ():
            if line not in self._seen:
                print(line, flush=refresh)
        self._seen = set(lines)
