# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``wnodes support-bundle``: what support needs to see, in one file, without secrets."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from wnodes import support
from wnodes.directory.base import Heartbeat
from wnodes.lrms.slurm import Slurm
from wnodes.lrms.slurm_commands import SlurmConfig
from wnodes.model.clock import Clock
from wnodes.model.errors import AuthError, ConfigError, RequestError
from wnodes.nameserver.client import NameserverClient
from wnodes.nameserver.config import NameserverConfig

from .. import config, version
from . import nodes, site
from .common import HostsFilter, Json, Timeout, complain, print_json, view_of

CONFIG = "/etc/wnodes/nameserver.yml"
#: of what one service tells, all parts together
MAX_CHARS = 16 << 20


def support_bundle(
    hosts: HostsFilter = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="By default a new file in this folder.")] = None,
    timeout: Timeout = 40.0,
    as_json: Json = False,
) -> None:
    """Collect states, configurations, versions and logs of the nodes in one file for support (as root)."""
    if os.geteuid() != 0:
        raise AuthError(object="support bundle", value=f"uid {os.geteuid()}", reason="only root may make one")
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    name = f"wnodes-support-{os.uname().nodename.partition('.')[0]}-{stamp}"
    target = output or Path(f"{name}.tar.gz")
    view = view_of(hosts)
    # before anything is collected: it may take a minute
    with _private(target) as file:
        outcomes = _collect(view, timeout)
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            for path, text in _files(view, outcomes).items():
                _add(archive, f"{name}/{path}", text)
    if as_json:
        print_json({"path": str(target), "size": target.stat().st_size, "parts": [_summary(one) for one in outcomes]})
    else:
        print(
            f"{target}: {target.stat().st_size >> 10} KiB from {len(outcomes)} services; look through it before you"
            " send it"
        )
    raise typer.Exit(nodes.exit_code(outcomes))


def _private(path: Path) -> Any:
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")
    except OSError as error:
        raise RequestError(
            object="support bundle", value=str(path), reason=error.strerror or str(error),
            hint="name a new file with --output",
        ) from None  # fmt: skip


def _collect(view: site.SiteView, timeout_s: float) -> list[nodes.CallOutcome]:
    targets = [(role, host) for host in view.nodes for role in site.NODE_ROLES if view.of(role, host)]

    def complain_of(outcome: nodes.CallOutcome) -> None:
        if outcome.error is not None:
            complain(outcome.error)

    def call(target: nodes.NodeService) -> dict[str, str]:
        # the client waits for as long as a bundle takes, and then for this
        return nodes.client(view, target, max(1.0, timeout_s - support.LIMIT_S)).bundle()

    return nodes.each(targets, call, timeout_s, complain_of)


def _files(view: site.SiteView, outcomes: Sequence[nodes.CallOutcome]) -> dict[str, str]:
    """Return the texts of all files by their paths."""
    files = {"summary.json": json.dumps([_summary(one) for one in outcomes], indent=2) + "\n"}
    for outcome in outcomes:
        role, host = outcome.target
        folder = f"{host if support.is_plain(host) else 'host'}/{role}"
        if outcome.error is not None:
            files[f"{folder}/LEFT-OUT.txt"] = f"{support.LEFT_OUT}{outcome.error}\n"
        else:
            files |= {f"{folder}/{name}": text for name, text in _kept(outcome.answer).items()}
    if view.scope == "site":
        own = support.collect(head_parts(site.nameserver()))
        files |= {f"{site.this_host()}/nameserver/{name}": text for name, text in own.items()}
    return files


def _kept(answer: dict[str, Any]) -> dict[str, str]:
    """Return what another machine told, as far as it is files of a bearable size."""
    kept, room = {}, MAX_CHARS
    for name, text in answer.items():
        if support.is_plain(name) and isinstance(text, str) and len(text) <= room:
            kept[name] = text
            room -= len(text)
    return kept


def _summary(outcome: nodes.CallOutcome) -> dict[str, Any]:
    role, host = outcome.target
    if outcome.error is not None:
        return {"host": host, "service": role, "error": outcome.error.as_dict()}
    missing = sorted(name for name, text in outcome.answer.items() if str(text).startswith(support.LEFT_OUT))
    return {"host": host, "service": role, "files": len(outcome.answer), "left_out": missing}


def head_parts(directory: NameserverClient) -> dict[str, support.Part]:
    """Return the nameserver's part of a bundle, and the batch system's as it is seen from here."""

    def told() -> list[Heartbeat]:
        return list(directory.heartbeats())

    def configured() -> NameserverConfig:
        if not os.path.exists(CONFIG):
            raise ConfigError(object=CONFIG, reason="is not there")
        return config.load(NameserverConfig, CONFIG)

    asked = Slurm(SlurmConfig(site.this_host())).inquiries()
    return {
        "versions.txt": support.versions(version(), {"systemd": ("systemctl", "--version")}),
        **support.units("wnodes-nameserver.service"),
        "status.json": support.data(directory.status),
        "config.json": support.data(configured),
        "heartbeats.json": support.data(told),
        "leases.json": support.data(directory.leases),
        "tags.json": support.data(directory.tags),
        **{f"{name}.txt": support.command(*argv) for name, argv in asked.items() if name != "slurm-node"},
    }


def _add(archive: tarfile.TarFile, path: str, text: str) -> None:
    data = text.encode("utf-8", "replace")
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode, entry.mtime = len(data), 0o600, int(Clock().now())
    archive.addfile(entry, io.BytesIO(data))
