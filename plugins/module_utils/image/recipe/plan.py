# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a recipe and an image to the difference between them. Reads the image, writes nothing."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from functools import partial
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from ...model.errors import ImageError
from .accounts import plan_accounts
from .appliance import Handle
from .journal_sender import LINK_PATH, SCRIPT, SCRIPT_PATH, UNIT, UNIT_PATH
from .operations import CommandOp, EditOp, FileOp, KernelModules, Recipe, RemoteSyslog, ScriptOp, SshKeys
from .packages import PackageManager, Upgrade
from .settings import plan_dns, plan_timezone
from .units import plan_units
from .view import Change, File, Folder, ImageView, LargeFile, Node, Symlink, want_parents

_SHOWN = 64 * 1024


@dataclass(frozen=True)
class ImageDifference:
    """What an image lacks. Check mode, diff and apply all use this one object.

    :param removals: packages to be removed
    :param upgrades: packages to be brought to another version, as the sources have it now
    :param packages: to be installed
    :param changes: paths that must become something else
    :param scripts: to be run, in order; that they were is among the changes
    :param commands: to be run, in order
    :param delete: paths to remove once more after packages, scripts or commands have run
    """

    removals: Tuple[str, ...] = ()
    upgrades: Tuple[Upgrade, ...] = ()
    packages: Tuple[str, ...] = ()
    changes: Tuple[Change, ...] = ()
    scripts: Tuple[ScriptOp, ...] = ()
    commands: Tuple[CommandOp, ...] = ()
    delete: Tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.removals or self.upgrades or self.packages or self.changes or self.scripts or self.commands)

    def actions(self) -> List[str]:
        """Return one line for each thing to do, in order."""
        lines = [f"remove package {name}" for name in self.removals]
        lines += [f"upgrade {upgrade}" for upgrade in self.upgrades]
        lines += [f"install {name}" for name in self.packages]
        lines += [f"{'remove' if change.after is None else 'write'} {change.path}" for change in self.changes]
        lines += [f"run script {script.name}" for script in self.scripts]
        return lines + [f"run {command}" for command in self.commands]

    def diff(self) -> List[Dict[str, str]]:
        """Return Ansible's diff: a list of ``{before_header, before, after_header, after}``."""
        shown = [
            {
                "before_header": change.path,
                "before": describe(change.before),
                "after_header": change.path,
                "after": describe(change.after),
            }
            for change in self.changes
        ]
        upgraded = [f"{upgrade.name} {upgrade.old}" for upgrade in self.upgrades if upgrade.old]
        for header, before, after in (
            ("packages removed", self.removals, ()),
            ("packages upgraded", upgraded, [f"{upgrade.name} {upgrade.new}" for upgrade in self.upgrades]),
            ("packages", (), self.packages),
            *((f"script {script.name}", (), script.content.splitlines()) for script in self.scripts),
            ("commands", (), [str(command) for command in self.commands]),
        ):
            if before or after:
                texts = {"before": _lines(before).decode(), "after": _lines(after).decode()}
                shown.append({"before_header": header, "after_header": header, **texts})
        return shown


def describe(node: Optional[Node]) -> str:
    """Return a node as text for a diff: its attributes, then its content if that is text and not long."""
    if node is None:
        return ""
    if isinstance(node, Symlink):
        return f"link to {node.target}\n"
    if isinstance(node, Folder):
        return f"folder, mode {node.mode:04o}, owner {node.uid}:{node.gid}\n"
    if isinstance(node, LargeFile):
        return f"file, mode {node.mode:04o}, owner {node.uid}:{node.gid}\n{node.size} bytes\n"
    if not isinstance(node, File):
        return f"special file, mode {node.mode:o}\n"
    head = f"file, mode {node.mode:04o}, owner {node.uid}:{node.gid}\n"
    if len(node.content) <= _SHOWN and b"\0" not in node.content:
        try:
            return head + node.content.decode()
        except UnicodeDecodeError:
            pass
    return head + f"{len(node.content)} bytes, sha256 {hashlib.sha256(node.content).hexdigest()}\n"


def plan_packages(manager: PackageManager, recipe: Recipe) -> ImageDifference:
    """Return what is to be done about packages; raise ImageError if some are missing and there is no network.

    With ``upgrade`` the sources' indexes must have been fetched.
    """
    installed = manager.installed() if recipe.packages or recipe.packages_absent else set()
    lacking = tuple(name for name in recipe.packages if name not in installed)
    if lacking and not recipe.network:
        raise ImageError(
            object="packages",
            value=", ".join(lacking),
            reason="are not in the image and the appliance has no network",
            hint="set network: true",
        )
    removals = tuple(name for name in recipe.packages_absent if name in installed)
    upgrades = manager.upgrades() if recipe.upgrade else ()
    return ImageDifference(removals, tuple(one for one in upgrades if one.name not in removals), lacking)


def plan_rest(handle: Handle, recipe: Recipe, *, pending: bool = False) -> ImageDifference:
    """Return all that follows the packages.

    :param pending: packages are missing and not being installed (check mode): what needs them can't be known yet
    """
    view = ImageView(handle)
    steps: List[Callable[[], None]] = [
        partial(plan_accounts, view, recipe.groups, recipe.users),
        partial(plan_timezone, view, recipe.timezone),
        partial(plan_dns, view, recipe.dns),
    ]
    steps += [partial(_file, view, op) for op in recipe.files]
    steps += [partial(_edit, view, op) for op in recipe.edits]
    steps += [partial(_modules, view, recipe.kernel_modules)]
    steps += [partial(_syslog, view, op) for op in (recipe.remote_syslog,) if op is not None]
    steps += [partial(_keys, view, op) for op in recipe.ssh_keys]
    steps += [partial(plan_units, view, recipe.units)]
    for step in steps:
        with contextlib.suppress(*([ImageError] if pending else [])):
            step()
    scripts = tuple(op for op in recipe.scripts if view.look(op.stamp) != _stamp(op))
    for script in scripts:
        _write(view, script.stamp, _stamp(script).content, 0o644)
    for path in recipe.delete:
        if view.look(path) is not None:
            view.want(path, None)
    changes = view.changes()
    commands = tuple(op for op in recipe.commands if op.creates is None or view.look(op.creates) is None)
    return ImageDifference(changes=changes, scripts=scripts, commands=commands, delete=recipe.delete)


def _stamp(script: ScriptOp) -> File:
    return File(f"{script.digest}\n".encode(), 0o644)


def _write(view: ImageView, path: str, content: bytes, mode: int, uid: int = 0, gid: int = 0) -> None:
    if isinstance(view.look(path), Folder):
        raise ImageError(object=path, reason="is a folder in the image", hint="delete it, or write another path")
    want_parents(view, path)
    view.want(path, File(content, mode, uid, gid))


def _file(view: ImageView, op: FileOp) -> None:
    uid, gid = view.ids(op.owner, op.group)
    _write(view, op.path, op.data(), int(op.mode, 8), uid, gid)


def _edit(view: ImageView, op: EditOp) -> None:
    path = view.resolve(op.path)
    text, node = view.text(path)
    view.want(path, File(op.edit(text).encode(), node.mode, node.uid, node.gid))


def _modules(view: ImageView, modules: KernelModules) -> None:
    if modules.load:
        _write(view, "/etc/modules-load.d/wnodes.conf", _lines(modules.load), 0o644)
    rules = [f"blacklist {name}" for name in modules.blacklist]
    rules += [f"options {name} {text}" for name, text in sorted(modules.options.items())]
    if rules:
        _write(view, "/etc/modprobe.d/wnodes.conf", _lines(rules), 0o644)


def _syslog(view: ImageView, target: RemoteSyslog) -> None:
    if isinstance(view.look("/etc/rsyslog.d"), Folder):
        host = f"[{target.host}]" if ":" in target.host else target.host
        rule = f"*.* {'@@' if target.protocol == 'tcp' else '@'}{host}:{target.port}"
        _write(view, "/etc/rsyslog.d/50-wnodes-remote.conf", _lines((rule,)), 0o644)
        return
    unit = UNIT.format(host=target.host, port=target.port, protocol=target.protocol)
    _write(view, SCRIPT_PATH, SCRIPT.encode(), 0o755)
    _write(view, UNIT_PATH, unit.encode(), 0o644)
    want_parents(view, LINK_PATH)
    view.want(LINK_PATH, Symlink(UNIT_PATH))


def _keys(view: ImageView, op: SshKeys) -> None:
    uid, gid, home = view.user(op.user)
    folder = f"{home.rstrip('/')}/.ssh"
    path = f"{folder}/authorized_keys"
    if isinstance(view.look(view.resolve(folder)), Folder):
        path = f"{view.resolve(folder)}/authorized_keys"
    else:
        want_parents(view, folder)
        view.want(folder, Folder(0o700, uid, gid))
    there = [] if op.exclusive or view.look(path) is None else view.text(path)[0].splitlines()
    keys = [key.strip() for key in op.keys]
    lines = there + [key for key in dict.fromkeys(keys) if key not in there]
    _write(view, path, _lines(lines), 0o600, uid, gid)


def _lines(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
