# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM from a template: an overlay over the template's disk, its memory restored, then what only this VM has.

What comes up is a clone until it is personalised (:func:`personality.personality` with ``clone=True``): it has the
template's random numbers, machine id and clock.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Callable, Dict

from ..process import run as run_process
from .base import VmHost
from .disks import Run, copy_sparse, make_overlay
from .domain import Domain
from .template import Template

#: does one step, which it is told the name of
Effect = Callable[[str, Callable[[], None]], None]


def _do(_name: str, work: Callable[[], None]) -> None:
    work()


def clone(
    host: VmHost, template: Template, domain: Domain, run: Run = run_process, effect: Effect = _do
) -> Dict[str, float]:
    """Start ``domain`` (as :func:`policy.make_domain` makes it of the image itself) from a template.

    May be repeated at any time: what runs already only gets the devices that it lacks. Returns the seconds that
    ``overlay``, ``restore``, ``nic`` and ``virtiofs`` took.

    :param effect: does each of these

    :raises ImageError: the template does not fit the domain: no VM like this will start from it
    :raises UnavailableError: of just this class: the host does not answer, and nothing is known of the domain
    :raises VirtError: this VM could not be restored; it may be booted instead, after ``host.destroy``
    :raises CommandFailed: its disks could not be made
    """
    works: Dict[str, Callable[[], None]] = {}
    if host.find(domain.uuid) is None:
        works["overlay"] = lambda: _make_disks(template, domain, run)
        works["restore"] = lambda: host.restore(template.memory, _over(template, domain))
    return {**_timed(works, effect), **complete(host, domain, effect)}


def complete(host: VmHost, domain: Domain, effect: Effect = _do) -> Dict[str, float]:
    """Give a clone that runs the devices that it lacks; like :func:`clone`, for which the template may be gone."""

    def attach_nics() -> None:
        for interface in domain.interfaces:
            host.attach(domain.uuid, interface)

    def attach_filesystems() -> None:
        for filesystem in domain.filesystems:
            host.attach(domain.uuid, filesystem)

    return _timed({"nic": attach_nics, "virtiofs": attach_filesystems}, effect)


def _timed(works: Dict[str, Callable[[], None]], effect: Effect) -> Dict[str, float]:
    seconds = {}
    for name, work in works.items():
        begun = time.monotonic()
        effect(name, work)
        seconds[name] = time.monotonic() - begun
    return seconds


def _over(template: Template, domain: Domain) -> Domain:
    root, *others = domain.disks
    return replace(domain, disks=(replace(root, backing=((template.disk, "qcow2"),) + root.backing), *others))


def _make_disks(template: Template, domain: Domain, run: Run) -> None:
    root, *others = domain.disks
    make_overlay(run, (template.disk, "qcow2"), root.path)
    for disk in others:
        # a copy, because the guest has seen its superblock
        copy_sparse(run, template.scratch, disk.path)
