# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from wnodes.model.codec import decode
from wnodes.model.image import Allowed
from wnodes.model.lease import Lease
from wnodes.model.phases import PHASES
from wnodes.model.vm import told_apart

from .site import DOWN, OK, PROBLEM, SiteView, seconds

if TYPE_CHECKING:  # most commands do without what it loads
    from wnodes.nameserver.catalogue import DesiredTags, TagChange

#: where a job's VM came from, by its path
ORIGINS = {
    "pool": "from the pool, where it waited for a job",
    "reuse": "from an earlier job of the same user",
    "direct": "from the pool: the batch system sent the job straight to it",
    "restore": "restored from a template",
    "cold": "booted",
}
#: what is shown of a service's details, under which words
DETAILS = {"names": "host names", "leased": "leased", "accel": "accel"}
#: characters of the longest bar
BAR = 20

_COLOURS = {
    OK: "green", PROBLEM: "yellow", DOWN: "bold red",
    "RUNNING": "green", "IN_USE": "green", "READY": "green", "FINISHED": "dim", "CLOSED": "dim", "GONE": "dim",
    "REFUSED": "red", "BROKEN": "red", "RETURNED": "yellow", "CANCELLED": "yellow",
}  # fmt: skip


def _table(*columns: str, numbers: Iterable[str] = ()) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in set(numbers) else "left", overflow="fold")
    return table


def _state(state: str) -> Text:
    return Text(state, style=_COLOURS.get(state, ""))


def _time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _empty(table: Table, text: str) -> RenderableType:
    return table if table.row_count else Text(text)


def status(view: SiteView) -> RenderableType:
    """Show who is alive, and what is wrong."""
    table = _table("HOST", "SERVICE", "STATE", "LAST SEEN", "DETAILS", numbers=("LAST SEEN",))
    problems: list[RenderableType] = []
    for service in view.services:
        heard = f"{service.age_s:.0f} s ago" if service.age_s else "-" if service.state == DOWN else "now"
        told = [f"{DETAILS[key]} {_plain(value)}" for key, value in service.detail.items() if key in DETAILS]
        if "tags" in service.detail:
            told.append("images: " + (_plain(service.detail["tags"]) or "none"))
        if service.detail.get("pool"):
            told.append(_waiting(service.detail["pool"]))
        if service.detail.get("drain"):
            told.append(drained(service.detail["drain"]))
        table.add_row(service.host, service.role, _state(service.state), heard, Text(", ".join(told)))
        said = [told_apart(problem)[0] for problem in service.problems]
        problems += [Text(f"{service.host} {service.role}: {problem}", style="yellow") for problem in said]
    running = sum(job["state"] != "CLOSED" for job in view.jobs)
    up = sum(vm["state"] != "GONE" for vm in view.vms)
    hints = [Text(hint, style="yellow") for hint in view.hints]
    return Group(table, Text(f"{running} virtual jobs under way, {up} virtual machines"), *problems, *hints)


def drained(drain: dict[str, Any]) -> str:
    """Return in a few words why a node is drained and how far it is."""
    counts = f"{_count(drain.get('jobs'), 'job')}, {_count(drain.get('vms'), 'waiting VM')} left"
    left = "empty" if drain.get("empty") else counts
    late = ", late" if drain.get("late") else ""
    return f"drained ({left}{late}): {drain.get('reason', '')}"


def _count(number: Any, what: str) -> str:
    return f"{'?' if number is None else number} {what}{'' if number == 1 else 's'}"


def hosts(rows: Iterable[dict[str, Any]]) -> RenderableType:
    """Show nodes, as :func:`site.hosts` tells them."""
    numbers = ("JOBS", "VMS", "WAITING VMS", "CPUS", "LOAD", "FREE/TOTAL MIB", "IMAGES", "LAST SEEN")
    table = _table(
        "HOST", "BAIT", "HYPERVISOR", "JOBS", "VMS", "WAITING VMS", "CPUS", "LOAD", "FREE/TOTAL MIB", "ACCEL", "IMAGES",
        "LAST SEEN", "DRAIN", numbers=numbers,
    )  # fmt: skip
    for row in rows:
        node = row["node"] or {}
        size = [str(node.get(key, "-")) for key in ("cpus", "load")] + [_memory(node)]
        cells = [row["host"], _state(row["bait"] or "-"), _state(row["hypervisor"] or "-")]
        cells += [str(row[key]) for key in ("jobs", "vms", "waiting")] + size
        cells += [row["accel"] or "-", str(len(row["images"])), f"{row['age_s']:.0f} s"]
        table.add_row(*cells, Text(drained(row["drain"]) if row["drain"] else "-"))
    return _empty(table, "no nodes")


def _memory(node: dict[str, Any]) -> str:
    return f"{node['available_mib']}/{node['memory_mib']}" if {"available_mib", "memory_mib"} <= set(node) else "-"


def _waiting(pool: Sequence[dict[str, Any]]) -> str:
    """Return how many VMs wait of those that should; too many of one kind do not make up for another."""
    target, waiting = sum(kind["target"] for kind in pool), sum(kind["waiting"] for kind in pool)
    wanted = sum(min(kind["target"], kind["waiting"]) for kind in pool)
    return f"waiting VMs {wanted}/{target}" + (f" and {waiting - wanted} more" if waiting > wanted else "")


def _plain(value: Any) -> str:
    return (
        ", ".join(map(str, value))
        if isinstance(value, (list, tuple))
        else str("unknown yet" if value in (None, "") else value)
    )


def jobs(view: SiteView, everything: bool) -> RenderableType:
    """Show jobs with the phase each is in."""
    numbers = ("SECONDS", "EXIT CODE")
    table = _table(
        "JOB", "USER", "IMAGE", "STATE", "SECONDS", "NODE", "VM", "EXIT CODE", "WAITING FOR", numbers=numbers
    )
    for job in view.jobs:
        if job["state"] == "CLOSED" and not everything:
            continue
        spent = seconds(job, view.now)
        outcome = job.get("outcome") or job["state"]
        shown = spent.get(job["state"], sum(spent.values()))
        code = "" if job["exit_code"] is None else str(job["exit_code"])
        waits = Text(str(job.get("error") or job["waits_for"]))
        cells = [job["lrms_id"], job["user"], job["request"]["tag"], _state(outcome), f"{shown:.1f}"]
        table.add_row(*cells, job.get("bait", ""), job["host"], code, waits)
    return _empty(
        table, "no virtual jobs" if everything else "no virtual jobs under way (--all shows those that are over)"
    )


def vms(view: SiteView, everything: bool) -> RenderableType:
    """Show VMs."""
    numbers = ("SECONDS", "CPUS", "MEMORY MIB")
    table = _table(
        "VM", "STATE", "SECONDS", "NODE", "IMAGE", "USER", "CPUS", "MEMORY MIB", "ADDRESS", "REASON", numbers=numbers
    )
    consoles: list[Text] = []
    for vm in view.vms:
        if vm["state"] == "GONE" and not everything:
            continue
        lease, request = vm.get("lease") or {}, vm["request"]
        spent = seconds(vm, view.now)
        size = request["resources"]
        cells = [lease.get("name") or request["id"], _state(vm["state"]), f"{spent.get(vm['state'], 0.0):.1f}"]
        owner = request["owner"] or "(waiting)"
        cells += [vm["hypervisor"], request["tag"], owner, str(size["cpus"]), str(size["memory_mib"])]
        table.add_row(*cells, lease.get("address", ""), Text(vm["reason"]))
        consoles += _console_of(cells[0], vm)
    return Group(_empty(table, "no virtual machines"), *consoles)


def _console_of(name: str, told: dict[str, Any]) -> list[Text]:
    """Return what a VM's console said last, under a heading of its own; nothing where that is not known."""
    if not told.get("console"):
        return []
    return [Text(f"\nlast lines of the console of {name}", style="bold"), Text(told["console"], style="dim")]


def _phase(name: str, took: float, longest: float) -> Text:
    bar = "█" * round(BAR * took / longest) if longest else ""
    return Text.assemble(f"{took:9.3f} s  ", (f"{bar:<{BAR}}", "cyan"), f"  {PHASES.get(name, '')}")


def explain(job: dict[str, Any], now: float) -> RenderableType:
    """Show all that is known of a job."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    spent = seconds(job, now)
    size = job["request"]["resources"]
    rows = {
        "job": f"{job['lrms_id']} of {job['user']} (request {job['id']}, attempt {job['attempt']})",
        "state": job["state"] if not job.get("outcome") else f"{job['outcome']}, over",
        "reason": job["reason"],
        "error": job.get("error", ""),
        "result" if job.get("outcome") else "waiting for": job["waits_for"],
        "image": job["request"]["tag"],
        "requested": f"{size['cpus']} CPUs, {size['memory_mib']} MiB memory, {size['scratch_mib']} MiB scratch disk",
        "set by rule": ", ".join(f"{value} ({where})" for value, where in job.get("ruled", {}).items()),
        "file systems": ", ".join(mount["target"] for mount in job["request"].get("mounts", ())),
        "node": job.get("bait", ""),
        "VM": f"{job['host']} ({job['address']})" if job["host"] else "",
        "VM origin": ORIGINS.get(job.get("path", ""), ""),
        "exit code": "" if job["exit_code"] is None else str(job["exit_code"]),
        "received": _time(job["history"][0]["at"]) if job["history"] else "",
        "seconds per state": ", ".join(f"{state} {value:.1f}" for state, value in spent.items()),
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, Text(value))
    for name, took in job.get("phases", {}).items():
        table.add_row(name, _phase(name, took, max(job["phases"].values())))
    consoles = _console_of("its VM", job)
    for old in job.get("earlier", ()):
        text = f"{_time(old['history'][0]['at'])} on {old.get('bait', '')}: {old.get('outcome') or old['state']}"
        table.add_row("earlier attempt", Text(f"{text}: {old['reason']}" if old["reason"] else text))
        consoles += _console_of(f"the VM of an earlier attempt, {_time(old['history'][0]['at'])}", old)
    return Group(table, *consoles)


def tags(entries: Iterable[dict[str, Any]], nodes: dict[str, dict[str, Any]], now: float) -> RenderableType:
    """Show image tags, as :func:`catalogue.described` tells them, and on how many nodes each is ready."""
    names = ("TAG", "IMAGE", "VERSION", "SIZE MIB", "UPDATED", "EXPIRES", "READY ON", "ALLOWED FOR")
    table = _table(*names, numbers=("SIZE MIB", "READY ON"))
    for entry in entries:
        there = [tags.get(entry["tag"], {}).get("state", "") for tags in nodes.values()]
        cells = [entry["tag"], entry["digest"][:12], str(entry["version"]), str(entry["size"] >> 20)]
        cells += [_time(entry["updated"]), _expiry(entry["expires"], now), f"{there.count('ready')}/{len(there)}"]
        table.add_row(*cells, _allowed(entry))
    return _empty(table, "no image tags: `wnodes images publish` sets them")


def tag(name: str, now: dict[str, Any] | None, history: list[dict[str, Any]], nodes: dict[str, Any]) -> RenderableType:
    """Show one tag: what it points to now (None: it is retired), what it did before, and how each node has it."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("tag", name)
    if now is None:
        table.add_row("state", _state("retired"))
    else:
        for key in ("digest", "version", "signer", "location", "format", "size", "root_device", "cmdline"):
            table.add_row(key.replace("_", " "), Text(str(now[key])))
        table.add_row("allowed for", Text(_allowed(now)))
        for key, value in sorted(now["properties"].items()):
            table.add_row(key, Text(value))
        if "rollout" in now:
            rollout = now["rollout"]
            table.add_row("rollout", Text(f"{rollout['digest'][:12]} on {', '.join(rollout['hosts'])}"))
    for old in history:
        table.add_row("since", Text(f"{_time(old['updated'])}  {old['digest'][:12]}  version {old['version']}"))
    for host, image in sorted(nodes.items()):
        table.add_row(
            host,
            Text(
                " ".join(filter(None, (image["state"], image["digest"][:12], image.get("progress"), image["reason"])))
            ),
        )
    return table


def _allowed(entry: dict[str, Any]) -> str:
    return str(decode(Allowed, entry["allowed"]))


def _expiry(expires: int, now: float) -> Text:
    if not expires:
        return Text("never", style="dim")
    days = (expires - now) / 86400
    return Text("expired", style="bold red") if days <= 0 else Text(f"in {days:.0f} days", style="yellow" * (days < 14))


def leases(entries: Iterable[Lease], now: float) -> RenderableType:
    """Show leases."""
    table = _table("NAME", "ADDRESS", "MAC", "HOLDER", "NODE", "EPOCH", "EXPIRES", numbers=("EPOCH", "EXPIRES"))
    for lease in entries:
        cells = [lease.name, lease.address, lease.mac, lease.holder, lease.owner, str(lease.epoch)]
        table.add_row(*cells, f"in {lease.expires - now:.0f} s")
    return _empty(table, "no leases")


def pointed(desired: DesiredTags, todo: Iterable[TagChange]) -> RenderableType:
    """Show what became of tags."""
    lines = []
    for change in todo:
        if desired.release is None:
            lines.append(f"{change.tag} is retired")
        else:
            where = f" on {', '.join(desired.hosts)}" if desired.hosts else ""
            lines.append(f"{change.tag} → {desired.release.claims().digest}{where}")
    return Text("\n".join(lines) or "unchanged")


class _Trimmed:
    """Something without the blanks that a table puts behind its last column."""

    def __init__(self, whole: RenderableType) -> None:
        self._whole = whole

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for line in console.render_lines(self._whole, options, pad=False):
            while line and not line[-1].text.rstrip(" "):
                line.pop()
            if line:
                last = line.pop()
                line.append(Segment(last.text.rstrip(" "), last.style, last.control))
            yield from line
            yield Segment.line()


class _Console(Console):
    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(_Trimmed(one) if isinstance(one, (Table, Group)) else one for one in objects), **options)


def console(width: int = 250) -> Console:
    """Return where tables go.

    :param width: columns in a pipe or a file, where there is no terminal to tell
    """
    plain = _Console(highlight=False)
    return plain if plain.is_terminal else _Console(highlight=False, width=width)
